package forge

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	giteaAuth  = "Authorization: token " + token
	giteaRepo  = "/api/v1/repos/acme/flags"
	giteaFind  = giteaRepo + "/pulls?limit=50&page=1&state=open"
	giteaPost  = `{"head":"rampart/ramp-prod","base":"main","title":"Ramp receipts to 20 %","body":"| a | b |\n|---|---|\n","assignee":"","assignees":null,"reviewers":null,"team_reviewers":null,"milestone":0,"labels":null,"due_date":null}`
	giteaEmpty = `"base":"","assignee":"","assignees":null,"milestone":0,"labels":null,"due_date":null,"unset_due_date":null,"allow_maintainer_edit":null`
)

func giteaPR(number, headRepo int, more string) string {
	return fmt.Sprintf(`{"number":%d,"html_url":"https://gt.example/%[1]d","title":"Ramp receipts to 20 %%","body":"| a | b |\n|---|---|\n",
		"labels":[{"id":1,"name":"rampart"},{"id":2,"name":"ramp"}],"base":{"ref":"main","repo_id":1},"head":{"ref":"rampart/ramp-prod","sha":"abc","repo_id":%d}%s}`, number, headRepo, more)
}

func TestGiteaOpensAndUpdatesInPlace(t *testing.T) {
	bare := strings.Replace(giteaPR(7, 1, ""), `{"id":1,"name":"rampart"},{"id":2,"name":"ramp"}`, "", 1)
	f := newFake(t, giteaAuth,
		exchange{"GET", giteaFind, "", 0, nil, "[" + giteaPR(3, 2, "") + "]"}, // a fork's
		// Gitea says 404 until it has seen the branch that was pushed.
		exchange{"POST", giteaRepo + "/pulls", giteaPost, 404, nil, `{"message":"could not find the branch"}`},
		exchange{"GET", giteaFind, "", 0, nil, "[]"},
		exchange{"POST", giteaRepo + "/pulls", giteaPost, 201, nil, bare},
		exchange{"GET", giteaRepo + "/labels?limit=50&page=1", "", 0, nil, `[{"id":1,"name":"rampart"}]`},
		exchange{"POST", giteaRepo + "/labels", `{"name":"ramp","color":"#5319e7","description":"","exclusive":false,"is_archived":false}`, 201, nil, `{"id":2,"name":"ramp"}`},
		exchange{"POST", giteaRepo + "/issues/7/labels", `{"labels":[1,2]}`, 0, nil, `[]`},
		exchange{"GET", giteaFind, "", 0, nil, "[" + giteaPR(7, 1, "") + "]"},
		exchange{"GET", giteaFind, "", 0, nil, "[" + strings.Replace(giteaPR(7, 1, ""), "Ramp", "Old", 1) + "]"},
		exchange{"PATCH", giteaRepo + "/pulls/7", `{"title":"Ramp receipts to 20 %","body":"| a | b |\n|---|---|\n","state":null,` + giteaEmpty + `}`, 201, nil, giteaPR(7, 1, "")},
	)
	forge := f.open(Gitea, "acme/flags")
	for range 3 {
		pr, err := forge.Propose(t.Context(), proposal)
		if err != nil || pr.Number != 7 || pr.Commit != "abc" || len(pr.Labels) != 2 || len(pr.Unlabelled) != 0 {
			t.Fatalf("%+v, %v", pr, err)
		}
	}
	f.wantSlept(250 * time.Millisecond)
}

func TestGiteaLabelsThatMayNotBeMade(t *testing.T) {
	bare := strings.Replace(giteaPR(7, 1, ""), `{"id":1,"name":"rampart"},{"id":2,"name":"ramp"}`, "", 1)
	f := newFake(t, giteaAuth,
		exchange{"GET", giteaFind, "", 0, nil, "[" + bare + "]"},
		exchange{"GET", giteaRepo + "/labels?limit=50&page=1", "", 0, nil, `[{"id":1,"name":"rampart"}]`},
		exchange{"POST", giteaRepo + "/labels", `{"name":"ramp","color":"#5319e7","description":"","exclusive":false,"is_archived":false}`, 403, nil, `{"message":"no"}`},
		exchange{"POST", giteaRepo + "/issues/7/labels", `{"labels":[1]}`, 0, nil, `[]`},
	)
	pr, err := f.open(Gitea, "acme/flags").Propose(t.Context(), proposal)
	if err != nil || fmt.Sprint(pr.Labels, pr.Unlabelled) != "[rampart] [ramp]" {
		t.Errorf("%+v, %v", pr, err)
	}
}

func TestGiteaMerge(t *testing.T) {
	get := exchange{"GET", giteaRepo + "/pulls/7", "", 0, nil, giteaPR(7, 1, "")}
	repo := exchange{"GET", giteaRepo, "", 0, nil, `{"allow_merge_commits":true}`}
	squash := exchange{"GET", giteaRepo, "", 0, nil, `{"allow_squash_merge":true}`}
	post := func(style, title, message string, status int) exchange {
		return exchange{"POST", giteaRepo + "/pulls/7/merge", fmt.Sprintf(`{"Do":%q,"MergeCommitID":"","MergeTitleField":%q,"MergeMessageField":%q,
			"force_merge":false,"delete_branch_after_merge":true,"head_commit_id":"abc","merge_when_checks_succeed":true}`, style, title, message), status, nil, ""}
	}
	merged := get
	merged.answer = giteaPR(7, 1, `,"merged":true`)
	moved := get
	moved.answer = strings.Replace(get.answer, "abc", "other", 1)
	for name, c := range map[string]struct {
		plan []exchange
		want Merged
		err  error
	}{
		"still being checked": {[]exchange{get, repo, post("merge", "", "", 405), get, repo, post("merge", "", "", 200)}, MergedNow, nil},
		"queued":              {[]exchange{get, repo, post("merge", "", "", 201)}, MergedQueued, nil},
		"squash":              {[]exchange{get, squash, post("squash", "m", "Op-Id: 1", 200)}, MergedNow, nil},
		"merged already":      {[]exchange{merged}, MergedNow, nil},
		"another head":        {[]exchange{moved}, "", ErrMoved},
		"moved in between":    {[]exchange{get, repo, post("merge", "", "", 409), moved}, "", ErrMoved},
		"queued already":      {[]exchange{get, repo, post("merge", "", "", 409), get}, MergedQueued, nil},
		"merged in between":   {[]exchange{get, repo, post("merge", "", "", 409), merged}, MergedNow, nil},
		"may not":             {[]exchange{get, repo, post("merge", "", "", 403)}, "", ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, giteaAuth, c.plan...)
			got, err := f.open(Gitea, "acme/flags").Merge(t.Context(), PullRequest{Number: 7}, "abc", "m\n\nOp-Id: 1\n")
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
	t.Run("a review is missing", func(t *testing.T) {
		var plan []exchange
		for range attempts {
			plan = append(plan, get, repo, post("merge", "", "", 405))
		}
		f := newFake(t, giteaAuth, plan...)
		_, err := f.open(Gitea, "acme/flags").Merge(t.Context(), PullRequest{Number: 7}, "abc", "")
		if !errors.Is(err, ErrBlocked) {
			t.Errorf("%v", err)
		}
	})
}

func TestGiteaListAndClose(t *testing.T) {
	f := newFake(t, giteaAuth,
		exchange{"GET", giteaFind, "", 0, map[string]string{"Link": `<HOST/x?page=2>; rel="next",<HOST/x?page=2>; rel="last"`}, "[" + giteaPR(7, 1, "") + "]"},
		exchange{"GET", strings.Replace(giteaFind, "page=1", "page=2", 1), "", 0, nil, "[" + giteaPR(5, 1, "") + "]"},
		exchange{"POST", giteaRepo + "/issues/5/comments", `{"body":"Superseded."}`, 201, nil, `{}`},
		exchange{"PATCH", giteaRepo + "/pulls/5", `{"title":"","body":null,"state":"closed",` + giteaEmpty + `}`, 201, nil, `{}`},
	)
	forge := f.open(Gitea, "acme/flags")
	prs, err := forge.List(t.Context(), "main", "rampart/")
	if err != nil || len(prs) != 2 || prs[0].Number != 5 {
		t.Fatalf("%+v, %v", prs, err)
	}
	if err := forge.Close(t.Context(), prs[0], "Superseded."); err != nil {
		t.Error(err)
	}
}
