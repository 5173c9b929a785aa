package cli

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
)

// nowhere is where a release is published that is not.
const nowhere = "none"

// targets opens the repositories of images, and the one on GitHub.
func (r *releasing) targets() error {
	if r.options.github == "" || len(r.options.images) == 0 {
		return usage(errors.New("say where to publish: --github OWNER/NAME and --image HOST/PATH, or none for either"))
	}
	for _, name := range r.options.images {
		if name == nowhere {
			continue
		}
		repository, err := payload.OpenRepository(name, r.remote())
		if err != nil {
			return usage(fmt.Errorf("--image: %w (the tags are the release's)", err))
		}
		r.job.Repositories = append(r.job.Repositories, repository)
	}
	if len(r.job.Repositories) > 0 && r.options.installer == "" {
		return usage(errors.New("--image: an image that runs nothing would be the latest kata-deploy: name the folder of its programs with --installer, or say --installer none where another image takes the payload from these"))
	}
	if r.options.github == nowhere {
		return nil
	}
	client, err := github.New(github.Options{
		API: r.options.api, Repository: r.options.github, Token: cmp.Or(r.app.Getenv("GH_TOKEN"), r.app.Getenv("GITHUB_TOKEN")),
		Report: r.ws.Report,
	})
	if err != nil {
		return usage(fmt.Errorf("--github: %w", err))
	}
	if !client.Authorized() && !r.options.dryRun {
		return usage(errors.New("no token: set GH_TOKEN or GITHUB_TOKEN to one that may write the contents of " + r.options.github))
	}
	r.job.GitHub = client
	return nil
}
