package forge

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	gitLabAuth = "Private-Token: " + token
	gitLabMRs  = "/api/v4/projects/acme%2Fteam%2Fflags/merge_requests"
	gitLabFind = gitLabMRs + "?per_page=100&source_branch=rampart%2Framp-prod&state=opened&target_branch=main"
	gitLabPost = `{"title":"Ramp receipts to 20 %","description":"| a | b |\n|---|---|\n","source_branch":"rampart/ramp-prod",
		"target_branch":"main","labels":"rampart,ramp","remove_source_branch":true}`
)

func gitLabMR(iid, project int, more string) string {
	return fmt.Sprintf(`{"iid":%d,"web_url":"https://gl.example/%[1]d","source_branch":"rampart/ramp-prod","target_branch":"main","sha":"abc",
		"source_project_id":%d,"target_project_id":1,"title":"Ramp receipts to 20 %%","description":"| a | b |\n|---|---|","labels":["rampart","ramp"]%s}`, iid, project, more)
}

func TestGitLabOpensAndUpdatesInPlace(t *testing.T) {
	f := newFake(t, gitLabAuth,
		exchange{"GET", gitLabFind, "", 0, nil, "[" + gitLabMR(3, 2, "") + "]"}, // a fork's
		exchange{"POST", gitLabMRs, gitLabPost, 201, nil, gitLabMR(7, 1, "")},
		exchange{"GET", gitLabFind, "", 0, nil, "[" + gitLabMR(7, 1, "") + "]"},
		exchange{"GET", gitLabFind, "", 0, nil, "[" + strings.Replace(strings.Replace(gitLabMR(7, 1, ""), "Ramp receipts", "Old", 1), `"rampart",`, "", 1) + "]"},
		exchange{"PUT", gitLabMRs + "/7", `{"title":"Ramp receipts to 20 %","description":"| a | b |\n|---|---|\n"}`, 0, nil, gitLabMR(7, 1, "")},
		exchange{"PUT", gitLabMRs + "/7", `{"add_labels":"rampart"}`, 0, nil, gitLabMR(7, 1, "")},
	)
	forge := f.open(GitLab, "acme/team/flags")
	for range 3 {
		pr, err := forge.Propose(t.Context(), proposal)
		if err != nil || pr.Number != 7 || pr.Commit != "abc" || pr.URL != "https://gl.example/7" {
			t.Fatalf("%+v, %v", pr, err)
		}
	}
}

func TestGitLabWhenAnotherRunWasFaster(t *testing.T) {
	f := newFake(t, gitLabAuth,
		exchange{"GET", gitLabFind, "", 0, nil, "[]"},
		exchange{"POST", gitLabMRs, gitLabPost, 409, nil, `{"message":["Another open merge request already exists for this source branch: !7"]}`},
		exchange{"GET", gitLabFind, "", 0, nil, "[" + gitLabMR(7, 1, "") + "]"},
	)
	pr, err := f.open(GitLab, "acme/team/flags").Propose(t.Context(), proposal)
	if err != nil || pr.Number != 7 {
		t.Fatalf("%+v, %v", pr, err)
	}
}

func TestGitLabMerge(t *testing.T) {
	get := func(more string) exchange {
		return exchange{"GET", gitLabMRs + "/7", "", 0, nil, gitLabMR(7, 1, more)}
	}
	accept := `{"auto_merge":true,"sha":"abc","should_remove_source_branch":true,"squash_commit_message":"m\n\nOp-Id: 1"}`
	put := func(status int, answer string) exchange {
		return exchange{"PUT", gitLabMRs + "/7/merge", accept, status, nil, answer}
	}
	for name, c := range map[string]struct {
		plan []exchange
		want Merged
		err  error
	}{
		"checked first": {[]exchange{get(`,"detailed_merge_status":"checking"`), get(`,"detailed_merge_status":"mergeable"`), put(0, gitLabMR(7, 1, `,"state":"merged"`))}, MergedNow, nil},
		"queued":        {[]exchange{get(`,"detailed_merge_status":"ci_still_running"`), put(0, gitLabMR(7, 1, `,"state":"opened","merge_when_pipeline_succeeds":true`))}, MergedQueued, nil},
		"merged":        {[]exchange{get(`,"state":"merged"`)}, MergedNow, nil},
		"another head":  {[]exchange{{"GET", gitLabMRs + "/7", "", 0, nil, strings.Replace(gitLabMR(7, 1, ""), "abc", "other", 1)}}, "", ErrMoved},
		"moved between": {[]exchange{get(""), put(409, `{"message":"SHA does not match HEAD of source branch: other"}`)}, "", ErrMoved},
		"conflicts":     {[]exchange{get(""), put(422, `{"message":"Branch cannot be merged"}`)}, "", ErrBlocked},
		"may not":       {[]exchange{get(""), put(401, `{"message":"401 Unauthorized"}`)}, "", ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, gitLabAuth, c.plan...)
			got, err := f.open(GitLab, "acme/team/flags").Merge(t.Context(), PullRequest{Number: 7}, "abc", "m\n\nOp-Id: 1")
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, c.want, c.err)
			}
			if name == "checked first" {
				f.wantSlept(250 * time.Millisecond)
			}
		})
	}
}

func TestGitLabListAndClose(t *testing.T) {
	list := gitLabMRs + "?per_page=100&state=opened&target_branch=main"
	f := newFake(t, gitLabAuth,
		exchange{"GET", list, "", 0, map[string]string{"X-Next-Page": "2"}, "[" + gitLabMR(7, 1, "") + "," + gitLabMR(8, 2, "") + "]"},
		exchange{"GET", strings.Replace(list, "?", "?page=2&", 1), "", 0, nil, "[" + gitLabMR(5, 1, "") + "]"},
		exchange{"POST", gitLabMRs + "/5/notes", `{"body":"Superseded."}`, 201, nil, `{}`},
		exchange{"PUT", gitLabMRs + "/5", `{"state_event":"close"}`, 502, nil, `{}`},
		exchange{"PUT", gitLabMRs + "/5", `{"state_event":"close"}`, 0, nil, `{}`},
	)
	forge := f.open(GitLab, "acme/team/flags")
	prs, err := forge.List(t.Context(), "main", "rampart/")
	if err != nil || len(prs) != 2 || prs[0].Number != 5 {
		t.Fatalf("%+v, %v", prs, err)
	}
	if err := forge.Close(t.Context(), prs[0], "Superseded."); err != nil {
		t.Error(err)
	}
}
