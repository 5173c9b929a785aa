package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// apiVersion is the version of the REST API whose answers the Client reads.
const apiVersion = "2022-11-28"

// Bounds of what is read: an answer, a refusal, and the pages of a list. GitHub
// lists at most 10,000 releases.
const (
	maxAnswer  = 32 << 20
	maxRefusal = 1 << 20
	maxPages   = 1000
)

// call is a request whose answer is JSON, or empty.
type call struct {
	// doing says what for, as in "listing the assets".
	doing       string
	method, url string
	// send is the body, nil for none.
	send any
}

// do makes a call and decodes the answer into a value. Errors are *failure, or
// the context's.
func (c *Client) do(ctx context.Context, call call, into any) (http.Header, error) {
	var body io.Reader
	if call.send != nil {
		data, err := json.Marshal(call.send)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", call.doing, err)
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, call.method, call.url, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call.doing, err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return c.exchange(request, call.doing, into)
}

// exchange sends a request and decodes the answer into a value.
func (c *Client) exchange(request *http.Request, doing string, into any) (http.Header, error) {
	response, err := c.answer(request, doing)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, lost(request.Context(), doing, err)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			return nil, &failure{doing: doing, temporary: true, err: fmt.Errorf("the answer is not what GitHub answers: %w", err)}
		}
	}
	return response.Header, nil
}

// answer sends a request and returns an answer that is a success; the caller
// closes its body.
func (c *Client) answer(request *http.Request, doing string) (*http.Response, error) {
	if request.Header.Get("Accept") == "" {
		request.Header.Set("Accept", "application/vnd.github+json")
	}
	request.Header.Set("X-GitHub-Api-Version", apiVersion)
	if c.options.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.options.Token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, lost(request.Context(), doing, err)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		defer response.Body.Close()
		return nil, c.refused(doing, response)
	}
	return response, nil
}

// tries is how often work is done that web cannot repeat: it takes more than one
// request, or sends what must not be there twice.
const tries = 6

// again waits before work is tried again that failed so often, and returns nil,
// or the error where a try cannot help.
func (c *Client) again(ctx context.Context, failures int, err error, may bool) error {
	if ctx.Err() != nil || !may || failures >= tries {
		return err
	}
	wait := patient(c.options.Pace).Backoff(failures)
	c.note("%v: trying again in %s", err, progress.Elapsed(wait))
	return c.options.Pace.Rest(ctx, wait)
}

var nextLink = regexp.MustCompile(`<([^>]*)>;[^,]*\brel="next"`)

// pages returns a list that comes in pages.
func pages[T any](ctx context.Context, c *Client, doing, address string) (all []T, err error) {
	address += "?per_page=100"
	for n := 0; address != ""; n++ {
		if n == maxPages {
			return nil, fmt.Errorf("%s: GitHub's list has more than %d pages", doing, maxPages)
		}
		var page []T
		header, err := c.do(ctx, call{doing: doing, method: http.MethodGet, url: address}, &page)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if address, err = c.next(header); err != nil {
			return nil, fmt.Errorf("%s: %w", doing, err)
		}
	}
	return all, nil
}

// next returns the address of the next page, "" on the last one. The token goes
// to no other host.
func (c *Client) next(header http.Header) (string, error) {
	match := nextLink.FindStringSubmatch(strings.Join(header.Values("Link"), ", "))
	if match == nil {
		return "", nil
	}
	link, err := url.Parse(match[1])
	if err != nil || link.Scheme != c.api.Scheme || link.Host != c.api.Host {
		return "", errors.New("GitHub's next page is on another host than its API")
	}
	return link.String(), nil
}

// lost makes a failure of a request that got no answer, or not all of it.
func lost(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	_, temporary := web.Temporary(err)
	return &failure{doing: doing, temporary: temporary, err: web.Clean(err)}
}
