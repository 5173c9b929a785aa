// Package github maintains a release of a GitHub repository through its REST API: it
// finds or creates the draft of a tag, uploads the assets that the draft lacks,
// replaces those that differ, and publishes last. Each step first looks at what is
// there, so a run may end anywhere and start again. A published release is not touched
// unless the caller forces it.
//
// It leaves to package web what every client needs: repeating requests, waiting for
// limits, and keeping the token to its site. On top of that, go-github knows the form
// of requests, lists and errors.
package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	api "github.com/google/go-github/v82/github"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// DefaultAPI is the address of github.com's REST API.
const DefaultAPI = "https://api.github.com"

// Options say which repository a Client works on, and as whom.
type Options struct {
	// API is the address of the REST API, "" for DefaultAPI.
	API string
	// Repository is "owner/name".
	Repository string
	// Token is sent only to the API and appears in no text. Without one a Client reads
	// only public data, which does not include drafts.
	Token string
	// Report shows waits and uploads.
	Report *progress.Reporter
	// Fields of Pace that are not 0 replace defaults.
	Pace web.Pace
}

// Client works on the releases of one repository. It is safe for concurrent use.
type Client struct {
	options Options
	api     *api.Client
}

// repositoryName has the characters that GitHub allows.
var repositoryName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+$`)

// subject names GitHub in the progress output.
const subject = "github"

// New returns a Client. It connects to nothing.
func New(options Options) (*Client, error) {
	if options.API == "" {
		options.API = DefaultAPI
	}
	base, err := url.Parse(strings.TrimRight(options.API, "/") + "/")
	if err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.User != nil {
		return nil, errors.New("invalid address of GitHub's API: want https://HOST or https://HOST/api/v3, without a user")
	}
	if base.Scheme == "http" && !web.Loopback(base.Host) {
		return nil, fmt.Errorf("the API at %s would get the token unencrypted: use https", base.Host)
	}
	if !repositoryName.MatchString(options.Repository) {
		return nil, fmt.Errorf("%q is not a repository of GitHub: want OWNER/NAME", options.Repository)
	}
	options.Token = strings.TrimSpace(options.Token)
	if strings.ContainsFunc(options.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token has invalid characters: set it again")
	}
	client := api.NewClient(web.NewClient(web.Options{
		Report: options.Report, Subject: subject, Host: base.Host, Small: maxAnswer, Pace: patient(options.Pace), Base: limits{web.NewBase()},
	}))
	client.BaseURL, client.UserAgent, client.DisableRateLimitCheck = base, web.UserAgent, true
	return &Client{options: options, api: client}, nil
}

// patient returns the pace of a client that waits for GitHub's limits, for at most a
// quarter of an hour: the quota is for a whole hour.
func patient(pace web.Pace) web.Pace {
	pace.First, pace.Patience = cmp.Or(pace.First, time.Second), cmp.Or(pace.Patience, 15*time.Minute)
	pace.Stall, pace.Answer = cmp.Or(pace.Stall, time.Minute), cmp.Or(pace.Answer, time.Minute)
	return pace
}

// Repository returns "owner/name".
func (c *Client) Repository() string { return c.options.Repository }

// Authorized reports whether the Client has a token, without which it can neither see
// drafts nor change anything.
func (c *Client) Authorized() bool { return c.options.Token != "" }

func (c *Client) note(format string, args ...any) {
	c.options.Report.Note(subject, fmt.Sprintf(format, args...))
}

// CheckName refuses a repository that was renamed: GitHub redirects reads, so a plan
// would look right, but changes would fail.
func (c *Client) CheckName(ctx context.Context) error {
	var repository struct {
		FullName string `json:"full_name"`
	}
	if _, err := c.do(ctx, call{doing: "looking for " + c.options.Repository, method: http.MethodGet}, &repository); err != nil {
		return err
	}
	if !strings.EqualFold(repository.FullName, c.options.Repository) {
		return fmt.Errorf("the repository %s was renamed to %s: use that name", c.options.Repository, repository.FullName)
	}
	return nil
}
