package github

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	api "github.com/google/go-github/v82/github"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

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
