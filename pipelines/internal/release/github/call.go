package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	api "github.com/google/go-github/v82/github"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// Bounds of what is read: an answer, a refusal, and the pages of a list. GitHub
// lists at most 10,000 releases.
const (
	maxAnswer  = 32 << 20
	maxRefusal = 1 << 20
	maxPages   = 1000
)

// call is a request to the repository whose answer is JSON, or empty.
type call struct {
	// doing says what the request is for, as in "listing the assets".
	doing string
	// method and path are those of the request; the path is below the repository.
	method, path string
	// send is the body, nil for none.
	send any
}

// do makes a call and decodes the answer into a value. Errors are *failure, or
// the context's.
func (c *Client) do(ctx context.Context, call call, into any) (*api.Response, error) {
	request, err := c.api.NewRequest(call.method, "repos/"+c.options.Repository+call.path, call.send, c.authorize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call.doing, err)
	}
	return c.exchange(ctx, request, call.doing, into)
}

// authorize adds the token to a request. The transport does not, since it also sends
// the requests that GitHub redirects to its storage.
func (c *Client) authorize(request *http.Request) {
	if c.options.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.options.Token)
	}
}

func (c *Client) exchange(ctx context.Context, request *http.Request, doing string, into any) (*api.Response, error) {
	response, err := c.api.Do(ctx, request, into)
	return response, c.failed(ctx, doing, response, err)
}

// pages returns all pages of a list.
func pages[T any](ctx context.Context, c *Client, doing, path string) (all []T, err error) {
	for next := 1; next != 0; {
		if next > maxPages {
			return nil, fmt.Errorf("%s: GitHub's list has more than %d pages", doing, maxPages)
		}
		var page []T
		response, err := c.do(ctx, call{doing: doing, method: http.MethodGet, path: fmt.Sprintf("%s?per_page=100&page=%d", path, next)}, &page)
		if err != nil {
			return nil, err
		}
		all, next = append(all, page...), response.NextPage
	}
	return all, nil
}

// tries limits how often retry does work that package web cannot repeat: work of more
// than one request, or with an effect that must not occur twice.
const tries = 6

// retry repeats work while it fails in a way that may pass.
func retry[T any](ctx context.Context, c *Client, passes func(error) bool, work func() (T, error)) (done T, err error) {
	for failures := 1; ; failures++ {
		done, err = work()
		if err == nil || ctx.Err() != nil || failures >= tries || !passes(err) {
			return done, err
		}
		wait := patient(c.options.Pace).Backoff(failures)
		c.note("%v: trying again in %s", err, progress.Elapsed(wait))
		if err := c.options.Pace.Rest(ctx, wait); err != nil {
			return done, err
		}
	}
}

// failed turns an error, or an answer that is not a success, into a failure.
func (c *Client) failed(ctx context.Context, doing string, response *api.Response, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case response == nil:
		return &failure{doing: doing, temporary: web.Temporary(err), err: web.Clean(err)}
	case response.StatusCode < 300:
		return &failure{doing: doing, temporary: true, err: fmt.Errorf("unexpected answer from GitHub: %w", err)}
	}
	f := &failure{doing: doing, status: response.StatusCode, temporary: web.TemporaryStatus(response.StatusCode)}
	// A proxy's page is not JSON and says nothing.
	_ = json.NewDecoder(response.Body).Decode(&f.said)
	if f.status == http.StatusNotFound {
		f.err = ErrNotFound
	}
	if wait, limited := web.RetryAfter(response.Response); limited {
		f.wait = max(wait, time.Second)
	}
	if c.options.Token != "" {
		f.said.Message = strings.ReplaceAll(f.said.Message, c.options.Token, "***")
	}
	return f
}

var (
	// ErrNotFound is the error of something that the repository lacks, or hides
	// from the token's owner.
	ErrNotFound = errors.New("not found")
	// ErrPublished is the error of changes to a release that is published.
	ErrPublished = errors.New("the release is published")
)

// failure is a request that failed. Its text has no address: those that GitHub
// redirects to are signed.
type failure struct {
	// doing says what the request is for, as in "listing the assets".
	doing string
	// status is the status of the answer, 0 if there was none, and said its content.
	status int
	said   api.ErrorResponse
	// temporary is true if the same request may succeed a little later.
	temporary bool
	// wait is how long the limit that refused it lasts.
	wait time.Duration
	err  error
}

func (f *failure) Error() string {
	if f.status == 0 {
		return fmt.Sprintf("%s: %v", f.doing, f.err)
	}
	text := fmt.Sprintf("%s: GitHub answers %d %s", f.doing, f.status, http.StatusText(f.status))
	if f.said.Message != "" {
		text += ": " + f.said.Message
	}
	for _, field := range f.said.Errors {
		text += " (" + strings.Join(slices.DeleteFunc([]string{field.Resource, field.Field, field.Code, field.Message},
			func(part string) bool { return part == "" }), " ") + ")"
	}
	switch {
	case f.wait > 0:
		text += ": run it again after " + time.Now().Add(f.wait).Format(time.DateTime)
	case f.status == http.StatusUnauthorized:
		text += ": the token is invalid or has expired"
	case f.status == http.StatusForbidden, f.status == http.StatusNotFound:
		text += ": the token must be allowed to write the contents of the repository, and the repository must exist"
	}
	return text
}

// Unwrap returns the cause, which is ErrNotFound for a 404.
func (f *failure) Unwrap() error { return f.err }

// isTemporary reports whether an error is a failure that may pass.
func isTemporary(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.temporary
}

// isTaken reports whether GitHub already has a resource of that name.
func isTaken(err error, resource string) bool {
	var f *failure
	return errors.As(err, &f) && f.status == http.StatusUnprocessableEntity &&
		slices.ContainsFunc(f.said.Errors, func(e api.Error) bool { return e.Resource == resource && e.Code == "already_exists" })
}

// secondaryWait is the wait for a limit that does not say when it ends.
const secondaryWait = time.Minute

// limits is a transport that sets Retry-After in every answer of GitHub's limits.
// GitHub says in three ways how long to wait, or not at all.
type limits struct{ base http.RoundTripper }

func (l limits) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := l.base.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusForbidden && response.StatusCode != http.StatusTooManyRequests {
		return response, err
	}
	if _, given := web.RetryAfter(response); given {
		return response, nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	if wait := limit(response, body); wait > 0 {
		response.Header.Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
	}
	return response, nil
}

// limit returns how long a limit lasts, and 0 for a refusal of another kind. The
// secondary limit may come without any header; then only its link to the documentation
// distinguishes it.
func limit(response *http.Response, body []byte) time.Duration {
	if response.Header.Get("X-RateLimit-Remaining") == "0" {
		now := time.Now()
		// The reset is a time of GitHub's clock, which the Date header shows.
		if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			now = date
		}
		if seconds, err := strconv.ParseInt(response.Header.Get("X-RateLimit-Reset"), 10, 64); err == nil {
			return max(0, time.Unix(seconds, 0).Sub(now)) + time.Second
		}
		return secondaryWait
	}
	var said api.ErrorResponse
	_ = json.Unmarshal(body, &said) // A proxy's page is not JSON and says nothing.
	if response.StatusCode == http.StatusTooManyRequests || strings.Contains(said.DocumentationURL, "secondary-rate-limits") ||
		strings.HasSuffix(said.DocumentationURL, "#abuse-rate-limits") {
		return secondaryWait
	}
	return 0
}
