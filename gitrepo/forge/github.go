package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-github/v74/github"
)

type gitHub struct {
	api         *github.Client
	graphql     string
	owner, name string
}

func newGitHub(client *http.Client, at address, token string) (backend, error) {
	owner, name, err := at.owner()
	if err != nil {
		return nil, err
	}
	g := &gitHub{api: github.NewClient(client), owner: owner, name: name, graphql: "graphql"}
	if at.host != "github.com" && at.host != "www.github.com" {
		if g.api, err = g.api.WithEnterpriseURLs(at.base, at.base); err != nil {
			return nil, err
		}
		g.graphql = at.base + "/api/graphql"
	}
	if token != "" {
		g.api = g.api.WithAuthToken(token)
	}
	return g, nil
}

// fault gives an error of the library its form here.
func (g *gitHub) fault(err error) error {
	var limited *github.RateLimitError
	var abuse *github.AbuseRateLimitError
	var res *github.ErrorResponse
	switch {
	case errors.As(err, &limited):
		return &apiError{status: http.StatusTooManyRequests, said: limited.Message}
	case errors.As(err, &abuse):
		e := &apiError{status: http.StatusTooManyRequests, said: abuse.Message}
		if abuse.RetryAfter != nil {
			e.wait = *abuse.RetryAfter
		}
		return e
	case errors.As(err, &res) && res.Response != nil:
		said := res.Message
		for _, e := range res.Errors {
			said += "; " + strings.TrimSpace(e.Resource+" "+e.Field+" "+e.Code+" "+e.Message)
		}
		return answer(res.Response.StatusCode, res.Response.Header, said)
	}
	return err
}

func (g *gitHub) list(ctx context.Context, base, head string) ([]PullRequest, error) {
	opt := &github.PullRequestListOptions{State: "open", Base: base, ListOptions: github.ListOptions{PerPage: 100}}
	if head != "" {
		opt.Head = g.owner + ":" + head
	}
	var out []PullRequest
	for {
		prs, res, err := g.api.PullRequests.List(ctx, g.owner, g.name, opt)
		if err != nil {
			return nil, g.fault(err)
		}
		for _, pr := range prs {
			if strings.EqualFold(pr.GetHead().GetRepo().GetFullName(), g.owner+"/"+g.name) {
				out = append(out, fromGitHub(pr))
			}
		}
		if res.NextPage == 0 {
			return out, nil
		}
		opt.Page = res.NextPage
	}
}

func fromGitHub(pr *github.PullRequest) PullRequest {
	out := PullRequest{
		Number: int64(pr.GetNumber()), URL: pr.GetHTMLURL(), Head: pr.GetHead().GetRef(), Base: pr.GetBase().GetRef(),
		Commit: pr.GetHead().GetSHA(), Title: pr.GetTitle(), Body: pr.GetBody(),
	}
	for _, l := range pr.Labels {
		out.Labels = append(out.Labels, l.GetName())
	}
	return out
}

func (g *gitHub) create(ctx context.Context, p Proposal) (PullRequest, error) {
	pr, _, err := g.api.PullRequests.Create(ctx, g.owner, g.name, &github.NewPullRequest{
		Title: &p.Title, Head: &p.Head, Base: &p.Base, Body: &p.Body,
	})
	if err != nil {
		return PullRequest{}, g.fault(err)
	}
	return fromGitHub(pr), nil
}

func (g *gitHub) edit(ctx context.Context, number int64, title, body string) error {
	_, _, err := g.api.PullRequests.Edit(ctx, g.owner, g.name, int(number), &github.PullRequest{Title: &title, Body: &body})
	return g.fault(err)
}

func (g *gitHub) label(ctx context.Context, number int64, labels []string) ([]string, error) {
	_, _, err := g.api.Issues.AddLabelsToIssue(ctx, g.owner, g.name, int(number), labels)
	return nil, g.fault(err)
}

func (g *gitHub) comment(ctx context.Context, number int64, text string) error {
	_, _, err := g.api.Issues.CreateComment(ctx, g.owner, g.name, int(number), &github.IssueComment{Body: &text})
	return g.fault(err)
}

func (g *gitHub) close(ctx context.Context, number int64) error {
	closed := "closed"
	_, _, err := g.api.PullRequests.Edit(ctx, g.owner, g.name, int(number), &github.PullRequest{State: &closed})
	return g.fault(err)
}

// merge asks for GitHub's auto-merge first. That is refused where nothing is in
// the way any more, and where the repository does not have it on; then it merges
// at once.
func (g *gitHub) merge(ctx context.Context, pr PullRequest, commit, message string) (Merged, error) {
	full, _, err := g.api.PullRequests.Get(ctx, g.owner, g.name, int(pr.Number))
	if err != nil {
		return "", g.fault(err)
	}
	switch {
	case full.GetMerged():
		return MergedNow, nil
	case full.GetHead().GetSHA() != commit:
		return "", &apiError{status: http.StatusConflict, said: "its head is " + full.GetHead().GetSHA()}
	}
	repo, _, err := g.api.Repositories.Get(ctx, g.owner, g.name)
	if err != nil {
		return "", g.fault(err)
	}
	method := gitHubMethod(repo)
	title, rest, _ := strings.Cut(message, "\n")
	queued, refused := g.enableAutoMerge(ctx, full.GetNodeID(), method, commit, title, strings.TrimSpace(rest))
	if queued {
		return MergedQueued, nil
	}
	opt := &github.PullRequestOptions{SHA: commit, MergeMethod: method}
	if method == "squash" {
		opt.CommitTitle = title
	} else {
		rest = ""
	}
	_, _, err = g.api.PullRequests.Merge(ctx, g.owner, g.name, int(pr.Number), strings.TrimSpace(rest), opt)
	if err != nil {
		err = g.fault(err)
		var e *apiError
		if errors.As(err, &e) && refused != "" {
			e.said += "; auto-merge: " + refused
		}
		return "", err
	}
	return MergedNow, nil
}

// gitHubMethod is the first way to merge that the repository allows. What a
// token may not see counts as allowed.
func gitHubMethod(repo *github.Repository) string {
	allows := func(b *bool) bool { return b == nil || *b }
	switch {
	case allows(repo.AllowMergeCommit):
		return "merge"
	case allows(repo.AllowSquashMerge):
		return "squash"
	}
	return "rebase"
}

const autoMerge = `mutation($pr: ID!, $method: PullRequestMergeMethod!, $oid: GitObjectID!, $title: String, $body: String) {
  enablePullRequestAutoMerge(input: {pullRequestId: $pr, mergeMethod: $method, expectedHeadOid: $oid, commitHeadline: $title, commitBody: $body}) {
    pullRequest { number }
  }
}`

// enableAutoMerge is in GitHub's GraphQL API only. It reports why not.
func (g *gitHub) enableAutoMerge(ctx context.Context, node, method, commit, title, body string) (bool, string) {
	vars := map[string]any{"pr": node, "method": strings.ToUpper(method), "oid": commit}
	if method == "squash" {
		vars["title"], vars["body"] = title, body
	}
	req, err := g.api.NewRequest(http.MethodPost, g.graphql, map[string]any{"query": autoMerge, "variables": vars})
	if err != nil {
		return false, err.Error()
	}
	var out struct {
		Data   json.RawMessage
		Errors []struct{ Message string }
	}
	if _, err := g.api.Do(ctx, req, &out); err != nil {
		return false, fmt.Sprint(g.fault(err))
	}
	if len(out.Errors) > 0 {
		return false, out.Errors[0].Message
	}
	return true, ""
}
