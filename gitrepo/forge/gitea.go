package forge

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"code.gitea.io/sdk/gitea"
)

type giteaForge struct {
	api         *gitea.Client
	owner, name string
}

func newGitea(client *http.Client, at address, token string) (backend, error) {
	owner, name, err := at.owner()
	if err != nil {
		return nil, err
	}
	// What is used here has been in Gitea for years. The client would ask for the
	// version and refuse one that it cannot read, such as a build of one's own or
	// some of Forgejo's.
	api, err := gitea.NewClient(at.base, gitea.SetHTTPClient(client), gitea.SetToken(token), gitea.SetGiteaVersion(""))
	if err != nil {
		return nil, err
	}
	return &giteaForge{api: api, owner: owner, name: name}, nil
}

func (g *giteaForge) fault(res *gitea.Response, err error) error {
	if err == nil || res == nil || res.Response == nil {
		return err
	}
	return answer(res.StatusCode, res.Header, err.Error())
}

func (g *giteaForge) list(ctx context.Context, base, head string) ([]PullRequest, error) {
	g.api.SetContext(ctx)
	opt := gitea.ListPullRequestsOptions{State: gitea.StateOpen, ListOptions: gitea.ListOptions{Page: 1, PageSize: 50}}
	var out []PullRequest
	for {
		prs, res, err := g.api.ListRepoPullRequests(g.owner, g.name, opt)
		if err != nil {
			return nil, g.fault(res, err)
		}
		for _, pr := range prs {
			if pr.Head == nil || pr.Base == nil || pr.Head.RepoID != pr.Base.RepoID || pr.Base.Ref != base || head != "" && pr.Head.Ref != head {
				continue
			}
			out = append(out, fromGitea(pr))
		}
		if len(prs) == 0 || res.NextPage == 0 {
			return out, nil
		}
		opt.Page = res.NextPage
	}
}

func fromGitea(pr *gitea.PullRequest) PullRequest {
	out := PullRequest{Number: pr.Index, URL: pr.HTMLURL, Title: pr.Title, Body: pr.Body}
	if pr.Head != nil && pr.Base != nil {
		out.Head, out.Base, out.Commit = pr.Head.Ref, pr.Base.Ref, pr.Head.Sha
	}
	for _, l := range pr.Labels {
		out.Labels = append(out.Labels, l.Name)
	}
	return out
}

func (g *giteaForge) create(ctx context.Context, p Proposal) (PullRequest, error) {
	g.api.SetContext(ctx)
	pr, res, err := g.api.CreatePullRequest(g.owner, g.name, gitea.CreatePullRequestOption{
		Head: p.Head, Base: p.Base, Title: p.Title, Body: p.Body,
	})
	if err != nil {
		return PullRequest{}, g.fault(res, err)
	}
	return fromGitea(pr), nil
}

func (g *giteaForge) edit(ctx context.Context, number int64, title, body string) error {
	g.api.SetContext(ctx)
	_, res, err := g.api.EditPullRequest(g.owner, g.name, number, gitea.EditPullRequestOption{Title: title, Body: &body})
	return g.fault(res, err)
}

// label looks the labels up, for Gitea wants their numbers, and makes those that
// the repository lacks, if it may.
func (g *giteaForge) label(ctx context.Context, number int64, labels []string) ([]string, error) {
	g.api.SetContext(ctx)
	ids := map[string]int64{}
	opt := gitea.ListLabelsOptions{ListOptions: gitea.ListOptions{Page: 1, PageSize: 50}}
	for {
		page, res, err := g.api.ListRepoLabels(g.owner, g.name, opt)
		if err != nil {
			return nil, g.fault(res, err)
		}
		for _, l := range page {
			ids[l.Name] = l.ID
		}
		if len(page) == 0 || res.NextPage == 0 {
			break
		}
		opt.Page = res.NextPage
	}
	var missing []string
	var want []int64
	for _, name := range labels {
		if _, ok := ids[name]; !ok {
			made, res, err := g.api.CreateLabel(g.owner, g.name, gitea.CreateLabelOption{Name: name, Color: "#5319e7"})
			if err != nil {
				if err = g.fault(res, err); isDenied(err) {
					missing = append(missing, name)
					continue
				}
				return nil, err
			}
			ids[name] = made.ID
		}
		want = append(want, ids[name])
	}
	if len(want) == 0 {
		return missing, nil
	}
	_, res, err := g.api.AddIssueLabels(g.owner, g.name, number, gitea.IssueLabelsOption{Labels: want})
	return missing, g.fault(res, err)
}

func isDenied(err error) bool {
	e, ok := err.(*apiError)
	return ok && slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}, e.status)
}

func (g *giteaForge) comment(ctx context.Context, number int64, text string) error {
	g.api.SetContext(ctx)
	_, res, err := g.api.CreateIssueComment(g.owner, g.name, number, gitea.CreateIssueCommentOption{Body: text})
	return g.fault(res, err)
}

func (g *giteaForge) close(ctx context.Context, number int64) error {
	g.api.SetContext(ctx)
	closed := gitea.StateClosed
	_, res, err := g.api.EditPullRequest(g.owner, g.name, number, gitea.EditPullRequestOption{State: &closed})
	return g.fault(res, err)
}

// merge has Gitea merge once the checks are through, which it does by itself a
// moment later where there are none. While Gitea finds out whether it can, it
// answers 405, which the caller retries; and 409 where it was told before.
func (g *giteaForge) merge(ctx context.Context, pr PullRequest, commit, message string) (Merged, error) {
	g.api.SetContext(ctx)
	if now, err := g.mergeable(pr.Number, commit); err != nil || now.HasMerged {
		return MergedNow, err
	}
	repo, res, err := g.api.GetRepo(g.owner, g.name)
	if err != nil {
		return "", g.fault(res, err)
	}
	opt := gitea.MergePullRequestOption{
		Style: giteaStyle(repo), HeadCommitId: commit, MergeWhenChecksSucceed: true, DeleteBranchAfterMerge: new(true),
	}
	if opt.Style == gitea.MergeStyleSquash {
		title, rest, _ := strings.Cut(message, "\n")
		opt.Title, opt.Message = title, strings.TrimSpace(rest)
	}
	_, res, err = g.api.MergePullRequest(g.owner, g.name, pr.Number, opt)
	switch {
	case err != nil:
		return "", g.fault(res, err)
	case res.StatusCode == http.StatusConflict:
		if now, err := g.mergeable(pr.Number, commit); err != nil || now.HasMerged {
			return MergedNow, err
		}
		return MergedQueued, nil
	case res.StatusCode == http.StatusCreated:
		return MergedQueued, nil
	}
	return MergedNow, answer(res.StatusCode, res.Header, "it is being checked, or a review or a check is missing")
}

// mergeable looks whether the pull request's head is the commit still.
func (g *giteaForge) mergeable(number int64, commit string) (*gitea.PullRequest, error) {
	now, res, err := g.api.GetPullRequest(g.owner, g.name, number)
	if err != nil {
		return nil, g.fault(res, err)
	}
	if !now.HasMerged && (now.Head == nil || now.Head.Sha != commit) {
		return nil, &apiError{status: http.StatusConflict, said: "its head is another commit"}
	}
	return now, nil
}

// giteaStyle is the first way to merge that the repository allows.
func giteaStyle(repo *gitea.Repository) gitea.MergeStyle {
	switch {
	case repo.AllowMerge:
		return gitea.MergeStyleMerge
	case repo.AllowSquash:
		return gitea.MergeStyleSquash
	case repo.AllowRebase:
		return gitea.MergeStyleRebase
	}
	return gitea.MergeStyleMerge
}
