package forge

import (
	"context"
	"errors"
	"net/http"
	"strings"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

type gitLab struct {
	api     *gitlab.Client
	project string
}

func newGitLab(client *http.Client, at address, token string) (backend, error) {
	api, err := gitlab.NewClient(token, gitlab.WithBaseURL(at.base), gitlab.WithHTTPClient(client), gitlab.WithoutRetries())
	if err != nil {
		return nil, err
	}
	return &gitLab{api: api, project: at.path}, nil
}

func (g *gitLab) fault(err error) error {
	var res *gitlab.ErrorResponse
	switch {
	case errors.Is(err, gitlab.ErrNotFound):
		return answer(http.StatusNotFound, nil, "")
	case errors.As(err, &res):
		return answer(res.Response.StatusCode, res.Response.Header, res.Message)
	}
	return err
}

func (g *gitLab) list(ctx context.Context, base, head string) ([]PullRequest, error) {
	opened := "opened"
	opt := &gitlab.ListProjectMergeRequestsOptions{
		ListOptions: gitlab.ListOptions{PerPage: 100}, State: &opened, TargetBranch: &base,
	}
	if head != "" {
		opt.SourceBranch = &head
	}
	var out []PullRequest
	for {
		mrs, res, err := g.api.MergeRequests.ListProjectMergeRequests(g.project, opt, gitlab.WithContext(ctx))
		if err != nil {
			return nil, g.fault(err)
		}
		for _, mr := range mrs {
			if mr.SourceProjectID == mr.TargetProjectID {
				out = append(out, fromGitLab(mr))
			}
		}
		if res.NextPage == 0 {
			return out, nil
		}
		opt.Page = res.NextPage
	}
}

func fromGitLab(mr *gitlab.BasicMergeRequest) PullRequest {
	return PullRequest{
		Number: mr.IID, URL: mr.WebURL, Head: mr.SourceBranch, Base: mr.TargetBranch, Commit: mr.SHA,
		Title: mr.Title, Body: mr.Description, Labels: mr.Labels,
	}
}

func (g *gitLab) create(ctx context.Context, p Proposal) (PullRequest, error) {
	mr, _, err := g.api.MergeRequests.CreateMergeRequest(g.project, &gitlab.CreateMergeRequestOptions{
		Title: &p.Title, Description: &p.Body, SourceBranch: &p.Head, TargetBranch: &p.Base,
		Labels: (*gitlab.LabelOptions)(&p.Labels), RemoveSourceBranch: new(true),
	}, gitlab.WithContext(ctx))
	if err != nil {
		return PullRequest{}, g.fault(err)
	}
	return fromGitLab(&mr.BasicMergeRequest), nil
}

func (g *gitLab) update(ctx context.Context, number int64, opt *gitlab.UpdateMergeRequestOptions) error {
	_, _, err := g.api.MergeRequests.UpdateMergeRequest(g.project, number, opt, gitlab.WithContext(ctx))
	return g.fault(err)
}

func (g *gitLab) edit(ctx context.Context, number int64, title, body string) error {
	return g.update(ctx, number, &gitlab.UpdateMergeRequestOptions{Title: &title, Description: &body})
}

func (g *gitLab) label(ctx context.Context, number int64, labels []string) ([]string, error) {
	return nil, g.update(ctx, number, &gitlab.UpdateMergeRequestOptions{AddLabels: (*gitlab.LabelOptions)(&labels)})
}

func (g *gitLab) comment(ctx context.Context, number int64, text string) error {
	_, _, err := g.api.Notes.CreateMergeRequestNote(g.project, number, &gitlab.CreateMergeRequestNoteOptions{Body: &text}, gitlab.WithContext(ctx))
	return g.fault(err)
}

func (g *gitLab) close(ctx context.Context, number int64) error {
	return g.update(ctx, number, &gitlab.UpdateMergeRequestOptions{StateEvent: new("close")})
}

// merge waits until GitLab knows whether it can (a 405 is retried by the
// caller), and then leaves it to GitLab to merge now or after the pipeline.
func (g *gitLab) merge(ctx context.Context, pr PullRequest, commit, message string) (Merged, error) {
	mr, _, err := g.api.MergeRequests.GetMergeRequest(g.project, pr.Number, nil, gitlab.WithContext(ctx))
	if err != nil {
		return "", g.fault(err)
	}
	switch {
	case mr.State == "merged":
		return MergedNow, nil
	case mr.SHA != commit:
		return "", &apiError{status: http.StatusConflict, said: "its head is " + mr.SHA}
	}
	switch mr.DetailedMergeStatus {
	case "unchecked", "checking", "preparing", "approvals_syncing":
		return "", &apiError{status: http.StatusMethodNotAllowed, said: "its state is " + mr.DetailedMergeStatus}
	}
	opt := &gitlab.AcceptMergeRequestOptions{AutoMerge: new(true), SHA: &commit, ShouldRemoveSourceBranch: new(true)}
	if strings.TrimSpace(message) != "" {
		opt.SquashCommitMessage = &message
	}
	done, _, err := g.api.MergeRequests.AcceptMergeRequest(g.project, pr.Number, opt, gitlab.WithContext(ctx))
	if err != nil {
		return "", g.fault(err)
	}
	if done.State == "merged" {
		return MergedNow, nil
	}
	return MergedQueued, nil
}
