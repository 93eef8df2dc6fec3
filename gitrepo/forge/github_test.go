package forge

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const gitHubAuth = "Authorization: Bearer " + token

func gitHubPR(number int, repo, sha, title, body string, labels ...string) string {
	var ls []string
	for _, l := range labels {
		ls = append(ls, fmt.Sprintf(`{"name":%q}`, l))
	}
	return fmt.Sprintf(`{"number":%d,"node_id":"PR_%[1]d","html_url":"https://forge.example/pr/%[1]d","title":%q,"body":%q,"labels":[%s],
		"head":{"ref":"rampart/ramp-prod","sha":%q,"repo":{"full_name":%q}},"base":{"ref":"main"}}`, number, title, body, strings.Join(ls, ","), sha, repo)
}

const gitHubFind = "/api/v3/repos/acme/flags/pulls?base=main&head=acme%3Arampart%2Framp-prod&per_page=100&state=open"

func TestGitHubOpensAndUpdatesInPlace(t *testing.T) {
	create := `{"title":"Ramp receipts to 20 %","head":"rampart/ramp-prod","base":"main","body":"| a | b |\n|---|---|\n"}`
	f := newFake(t, gitHubAuth,
		// A fork's pull request from a branch of the same name is not ours.
		exchange{"GET", gitHubFind, "", 0, nil, "[" + gitHubPR(3, "mallory/flags", "bad", "x", "y") + "]"},
		exchange{"POST", "/api/v3/repos/acme/flags/pulls", create, 201, nil, gitHubPR(7, "acme/flags", "abc", proposal.Title, proposal.Body)},
		exchange{"POST", "/api/v3/repos/acme/flags/issues/7/labels", `["rampart","ramp"]`, 0, nil, "[]"},
		// The next day: the same, then another title, with one label taken off.
		exchange{"GET", gitHubFind, "", 0, nil, "[" + gitHubPR(7, "acme/flags", "abc", proposal.Title, strings.ReplaceAll(proposal.Body, "\n", "\r\n"), "rampart", "ramp", "mine") + "]"},
		exchange{"GET", gitHubFind, "", 0, nil, "[" + gitHubPR(7, "acme/flags", "abc", "yesterday's", proposal.Body, "ramp") + "]"},
		exchange{"PATCH", "/api/v3/repos/acme/flags/pulls/7", `{"title":"Ramp receipts to 20 %","body":"| a | b |\n|---|---|\n"}`, 0, nil, gitHubPR(7, "acme/flags", "abc", proposal.Title, proposal.Body)},
		exchange{"POST", "/api/v3/repos/acme/flags/issues/7/labels", `["rampart"]`, 0, nil, "[]"},
	)
	forge := f.open(GitHub, "acme/flags")
	for range 3 {
		pr, err := forge.Propose(t.Context(), proposal)
		if err != nil {
			t.Fatal(err)
		}
		if pr.Number != 7 || pr.URL != "https://forge.example/pr/7" || pr.Commit != "abc" || pr.Title != proposal.Title || len(pr.Labels) < 2 {
			t.Errorf("%+v", pr)
		}
	}
	f.wantSlept()
}

func TestGitHubThatHasNotSeenThePushYet(t *testing.T) {
	invalid := `{"message":"Validation Failed","errors":[{"resource":"PullRequest","field":"head","code":"invalid"}]}`
	create := `{"title":"Ramp receipts to 20 %","head":"rampart/ramp-prod","base":"main","body":"| a | b |\n|---|---|\n"}`
	none := exchange{"GET", gitHubFind, "", 0, nil, "[]"}
	post := exchange{"POST", "/api/v3/repos/acme/flags/pulls", create, 422, nil, invalid}
	done := post
	done.status, done.answer = 201, gitHubPR(8, "acme/flags", "abc", proposal.Title, proposal.Body, "rampart", "ramp")
	f := newFake(t, gitHubAuth, none, post, none, post, none, done)
	pr, err := f.open(GitHub, "acme/flags").Propose(t.Context(), proposal)
	if err != nil || pr.Number != 8 {
		t.Fatalf("%+v, %v", pr, err)
	}
	f.wantSlept(250*time.Millisecond, 500*time.Millisecond)
}

func TestGitHubWhenAnotherRunWasFaster(t *testing.T) {
	exists := `{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"A pull request already exists for acme:rampart/ramp-prod."}]}`
	f := newFake(t, gitHubAuth,
		exchange{"GET", gitHubFind, "", 0, nil, "[]"},
		exchange{"POST", "/api/v3/repos/acme/flags/pulls", `{"title":"Ramp receipts to 20 %","head":"rampart/ramp-prod","base":"main","body":"| a | b |\n|---|---|\n"}`, 422, nil, exists},
		exchange{"GET", gitHubFind, "", 0, nil, "[" + gitHubPR(9, "acme/flags", "abc", proposal.Title, proposal.Body, "rampart", "ramp") + "]"},
	)
	pr, err := f.open(GitHub, "acme/flags").Propose(t.Context(), proposal)
	if err != nil || pr.Number != 9 {
		t.Fatalf("%+v, %v", pr, err)
	}
}

func TestGitHubGivesUpWithItsReason(t *testing.T) {
	create := `{"title":"Ramp receipts to 20 %","head":"rampart/ramp-prod","base":"main","body":"| a | b |\n|---|---|\n"}`
	none := exchange{"GET", gitHubFind, "", 0, nil, "[]"}
	post := exchange{"POST", "/api/v3/repos/acme/flags/pulls", create, 422, nil, `{"message":"No commits between main and rampart/ramp-prod ` + token + `"}`}
	var plan []exchange
	plan = append(plan, none)
	for range attempts {
		plan = append(plan, post, none)
	}
	f := newFake(t, gitHubAuth, plan...)
	_, err := f.open(GitHub, "acme/flags").Propose(t.Context(), proposal)
	if err == nil || !strings.Contains(err.Error(), "No commits between") || strings.Contains(err.Error(), token) {
		t.Errorf("%v", err)
	}
}

const gitHubMutation = "/api/graphql"

func mutation(method string, more string) string {
	return fmt.Sprintf(`{"query":%q,"variables":{"pr":"PR_7","method":%q,"oid":"abc"%s}}`, autoMerge, method, more)
}

func TestGitHubMerge(t *testing.T) {
	get := exchange{"GET", "/api/v3/repos/acme/flags/pulls/7", "", 0, nil, gitHubPR(7, "acme/flags", "abc", "t", "b")}
	repo := exchange{"GET", "/api/v3/repos/acme/flags", "", 0, nil, `{"allow_merge_commit":true}`}
	squash := repo
	squash.answer = `{"allow_merge_commit":false,"allow_squash_merge":true}`
	clean := `{"errors":[{"type":"UNPROCESSABLE","message":"Pull request Pull request is in clean status"}]}`
	put := func(body string, status int, answer string) exchange {
		return exchange{"PUT", "/api/v3/repos/acme/flags/pulls/7/merge", body, status, nil, answer}
	}
	moved := get
	moved.answer = gitHubPR(7, "acme/flags", "other", "t", "b")
	merged := get
	merged.answer = strings.Replace(get.answer, `"number"`, `"merged":true,"number"`, 1)
	squashed := `,"title":"Ramp receipts","body":"Why.\n\nOp-Id: 1"`
	for name, c := range map[string]struct {
		plan []exchange
		want Merged
		err  error
	}{
		"queued": {[]exchange{get, repo, {"POST", gitHubMutation, mutation("MERGE", ""), 0, nil, `{"data":{}}`}}, MergedQueued, nil},
		"at once": {[]exchange{get, repo, {"POST", gitHubMutation, mutation("MERGE", ""), 0, nil, clean},
			put(`{"merge_method":"merge","sha":"abc"}`, 0, `{"merged":true}`)}, MergedNow, nil},
		"squash": {[]exchange{get, squash, {"POST", gitHubMutation, mutation("SQUASH", squashed), 0, nil, clean},
			put(`{"commit_message":"Why.\n\nOp-Id: 1","commit_title":"Ramp receipts","merge_method":"squash","sha":"abc"}`, 0, `{"merged":true}`)}, MergedNow, nil},
		"its head moved":         {[]exchange{moved}, "", ErrMoved},
		"it is merged already":   {[]exchange{merged}, MergedNow, nil},
		"it moved in between":    {[]exchange{get, repo, {"POST", gitHubMutation, mutation("MERGE", ""), 0, nil, clean}, put(`{"merge_method":"merge","sha":"abc"}`, 409, `{"message":"Head branch was modified"}`)}, "", ErrMoved},
		"the token may not":      {[]exchange{get, repo, {"POST", gitHubMutation, mutation("MERGE", ""), 401, nil, `{"message":"Bad credentials"}`}, put(`{"merge_method":"merge","sha":"abc"}`, 403, `{"message":"Resource not accessible"}`)}, "", ErrDenied},
		"pull request not there": {[]exchange{{"GET", "/api/v3/repos/acme/flags/pulls/7", "", 404, nil, `{"message":"Not Found"}`}}, "", ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, gitHubAuth, c.plan...)
			got, err := f.open(GitHub, "acme/flags").Merge(t.Context(), PullRequest{Number: 7}, "abc", "Ramp receipts\n\nWhy.\n\nOp-Id: 1\n")
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}

	t.Run("blocked for good", func(t *testing.T) {
		var plan []exchange
		for range attempts {
			plan = append(plan, get, repo, exchange{"POST", gitHubMutation, mutation("MERGE", ""), 0, nil, `{"errors":[{"message":"Auto merge is not allowed for this repository"}]}`},
				put(`{"merge_method":"merge","sha":"abc"}`, 405, `{"message":"At least 1 approving review is required"}`))
		}
		f := newFake(t, gitHubAuth, plan...)
		_, err := f.open(GitHub, "acme/flags").Merge(t.Context(), PullRequest{Number: 7}, "abc", "m")
		if !errors.Is(err, ErrBlocked) || !strings.Contains(err.Error(), "approving review") || !strings.Contains(err.Error(), "Auto merge is not allowed") {
			t.Errorf("%v", err)
		}
	})
}

func TestGitHubListAndClose(t *testing.T) {
	list := "/api/v3/repos/acme/flags/pulls?base=main&per_page=100&state=open"
	page2 := strings.Replace(list, "&per_page", "&page=2&per_page", 1)
	other := strings.Replace(gitHubPR(4, "acme/flags", "d", "a person's", ""), "rampart/ramp-prod", "feature", 1)
	f := newFake(t, gitHubAuth,
		exchange{"GET", list, "", 0, map[string]string{"Link": `<HOST/x?page=2>; rel="next"`}, "[" + gitHubPR(7, "acme/flags", "abc", "t", "b") + "," + other + "]"},
		exchange{"GET", page2, "", 0, nil, "[" + gitHubPR(5, "acme/flags", "abc", "t", "b") + "]"},
		exchange{"POST", "/api/v3/repos/acme/flags/issues/7/comments", `{"body":"Superseded."}`, 201, nil, `{}`},
		exchange{"PATCH", "/api/v3/repos/acme/flags/pulls/7", `{"state":"closed"}`, 0, nil, `{}`},
		exchange{"PATCH", "/api/v3/repos/acme/flags/pulls/5", `{"state":"closed"}`, 0, nil, `{}`},
	)
	forge := f.open(GitHub, "acme/flags")
	prs, err := forge.List(t.Context(), "main", "rampart/")
	if err != nil || len(prs) != 2 || prs[0].Number != 5 || prs[1].Number != 7 {
		t.Fatalf("%+v, %v", prs, err)
	}
	if err := forge.Close(t.Context(), prs[1], "Superseded."); err != nil {
		t.Error(err)
	}
	if err := forge.Close(t.Context(), prs[0], ""); err != nil {
		t.Error(err)
	}
}

func TestGitHubRateLimits(t *testing.T) {
	list := "/api/v3/repos/acme/flags/pulls?base=main&per_page=100&state=open"
	f := newFake(t, gitHubAuth,
		exchange{"GET", list, "", 503, nil, "upstream"},
		exchange{"GET", list, "", 403, map[string]string{"Retry-After": "3"}, `{"message":"You have exceeded a secondary rate limit","documentation_url":"https://docs.github.com/rest/overview/rate-limits#about-secondary-rate-limits"}`},
	)
	forge := f.open(GitHub, "acme/flags")
	// go-github itself holds further requests back until the time has come by
	// the wall clock, so the wait ends this one.
	_, err := forge.List(t.Context(), "main", "")
	if err == nil || !strings.Contains(err.Error(), "429 "+http.StatusText(http.StatusTooManyRequests)) {
		t.Errorf("%v", err)
	}
	if len(f.slept) < 2 || f.slept[0] != 250*time.Millisecond || f.slept[1] < 2*time.Second {
		t.Errorf("waited %v", f.slept)
	}
}

func TestLabelsAreNoReasonToFail(t *testing.T) {
	f := newFake(t, gitHubAuth,
		exchange{"GET", gitHubFind, "", 0, nil, "[" + gitHubPR(7, "acme/flags", "abc", proposal.Title, proposal.Body) + "]"},
		exchange{"POST", "/api/v3/repos/acme/flags/issues/7/labels", `["rampart","ramp"]`, 403, nil, `{"message":"no"}`},
	)
	pr, err := f.open(GitHub, "acme/flags").Propose(t.Context(), proposal)
	if err != nil || len(pr.Unlabelled) != 2 || len(pr.Labels) != 0 {
		t.Errorf("%+v, %v", pr, err)
	}
}
