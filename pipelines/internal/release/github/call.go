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
)

// apiVersion is the version of the REST API that answers are read by.
const apiVersion = "2022-11-28"

// maxAnswer is the longest answer that is read, in bytes.
const maxAnswer = 32 << 20

// call is a request whose answer is JSON, or none.
type call struct {
	// doing says what for, as in "listing the assets".
	doing       string
	method, url string
	// send is the body, nil for none.
	send any
	// once is true where a repetition could do the same thing twice, unless it
	// is known that nothing was done.
	once bool
}

// do makes a call, again where that can help, and decodes the answer into a
// value. Errors are *failure, or the context's.
func (c *Client) do(ctx context.Context, call call, into any) (http.Header, error) {
	patience := patience{Client: c}
	for {
		header, err := c.try(ctx, call, into)
		if err == nil {
			return header, nil
		}
		if err := patience.again(ctx, err, isTransient(err) && !call.once); err != nil {
			return nil, err
		}
	}
}

// try makes a call once.
func (c *Client) try(ctx context.Context, call call, into any) (http.Header, error) {
	// A call takes no longer than its answer may take to come.
	ctx, cancel := context.WithTimeoutCause(ctx, takingIn, errStalled)
	defer cancel()
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
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, lost(request.Context(), doing, err)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			return nil, &failure{doing: doing, err: fmt.Errorf("the answer is not what GitHub answers: %w", err)}
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
	request.Header.Set("User-Agent", "kata-pipelines")
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

var nextLink = regexp.MustCompile(`<([^>]*)>;[^,]*\brel="next"`)

// pages calls take with each page of a list, until it returns false.
func pages[T any](ctx context.Context, c *Client, doing, address string, take func(page []T) bool) error {
	address += "?per_page=100"
	for address != "" {
		var page []T
		header, err := c.do(ctx, call{doing: doing, method: http.MethodGet, url: address}, &page)
		if err != nil {
			return err
		}
		if !take(page) {
			return nil
		}
		if address, err = c.next(header); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	return nil
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
