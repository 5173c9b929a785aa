// Package github keeps a release of a GitHub repository through its REST API:
// it finds or creates the draft of a tag, brings the assets that the draft lacks,
// replaces those that differ, and publishes last. Each step looks at what is
// there first, so that all of it can be broken off anywhere and done again. A
// published release is not touched unless that is asked for.
package github

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// DefaultAPI is the address of github.com's REST API.
const DefaultAPI = "https://api.github.com"

// Options say which repository a Client works on, and as whom.
type Options struct {
	// API is the address of the REST API, "" for DefaultAPI.
	API string
	// Repository is "owner/name".
	Repository string
	// Token is sent to the API alone and stands in no text. Without one a Client
	// reads what anybody can, which drafts are not part of.
	Token string
	// Note, where it is set, gets a line about each wait and each repetition.
	Note func(text string)
	// Bytes, where it is set, is called for each upload; what it returns hears
	// how far it is, and its end.
	Bytes func(asset string) (progress func(done, total int64), end func(err error, detail string))
	// Backoff is the wait before the first repetition, each further one twice as
	// long; 0 means a second.
	Backoff time.Duration
	// Transport carries the requests; nil means one of the Client's own.
	Transport http.RoundTripper
}

// Client works on the releases of one repository. It is safe for concurrent use.
type Client struct {
	options Options
	api     *url.URL
	http    *http.Client
	pace    pace
	now     func() time.Time
	sleep   func(ctx context.Context, wait time.Duration) error
}

// Limits of the own transport. There is none for a whole request, since an
// asset takes as long as it takes; GitHub needs a while to take a large one in.
const (
	connecting = 10 * time.Second
	takingIn   = 5 * time.Minute
)

// repositoryName has the characters that GitHub allows.
var repositoryName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+$`)

// New returns a Client. Nothing is asked yet.
func New(options Options) (*Client, error) {
	if options.API == "" {
		options.API = DefaultAPI
	}
	api, err := url.Parse(strings.TrimRight(options.API, "/"))
	if err != nil || api.Scheme != "https" && api.Scheme != "http" || api.Host == "" || api.User != nil {
		return nil, errors.New("the address of GitHub's API is not one: want https://HOST or https://HOST/api/v3, without a user")
	}
	if api.Scheme == "http" && !loopback(api.Hostname()) {
		return nil, fmt.Errorf("the API at %s would get the token unencrypted: use https", api.Host)
	}
	if !repositoryName.MatchString(options.Repository) {
		return nil, fmt.Errorf("%q is no repository of GitHub: want OWNER/NAME", options.Repository)
	}
	options.Token = strings.TrimSpace(options.Token)
	if strings.ContainsFunc(options.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token has characters that no token has: set it anew")
	}
	if options.Backoff <= 0 {
		options.Backoff = time.Second
	}
	if options.Transport == nil {
		options.Transport = newTransport()
	}
	return &Client{
		options: options,
		api:     api,
		http:    &http.Client{Transport: options.Transport, CheckRedirect: redirect},
		pace:    pace{tries: 6, first: options.Backoff, longest: 30 * time.Second, limit: 15 * time.Minute, limits: 20, stall: time.Minute},
		now:     time.Now,
		sleep:   sleep,
	}, nil
}

// redirect follows to where a download is. A change is not sent elsewhere: as a
// GET, which net/http would make of it, it would change nothing.
func redirect(_ *http.Request, via []*http.Request) error {
	if via[0].Method != http.MethodGet || len(via) >= 10 {
		return http.ErrUseLastResponse
	}
	return nil
}

func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connecting}).DialContext,
		ForceAttemptHTTP2:     true,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   connecting,
		ResponseHeaderTimeout: takingIn,
		WriteBufferSize:       64 << 10,
	}
}

// loopback tells whether a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Repository returns "owner/name".
func (c *Client) Repository() string { return c.options.Repository }

// Authorized tells whether the Client has a token, without which it sees no
// drafts and changes nothing.
func (c *Client) Authorized() bool { return c.options.Token != "" }

// at returns the address of something of the repository; the parts are escaped.
func (c *Client) at(parts ...string) string {
	owner, name, _ := strings.Cut(c.options.Repository, "/")
	address := c.api.String() + "/repos/" + owner + "/" + name
	for _, part := range parts {
		address += "/" + url.PathEscape(part)
	}
	return address
}

// note says something about a wait or a repetition.
func (c *Client) note(format string, args ...any) {
	if c.options.Note != nil {
		c.options.Note(fmt.Sprintf(format, args...))
	}
}
