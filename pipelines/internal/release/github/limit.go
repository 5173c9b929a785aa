package github

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The limits' headers, the wait where a limit says none, and the shortest one: a
// limit that is over at once, or was over yesterday, must not be asked in a storm.
const (
	remaining     = "X-RateLimit-Remaining"
	reset         = "X-RateLimit-Reset"
	secondaryWait = time.Minute
	shortestWait  = time.Second
)

// limit tells whether an answer is a refusal because of one of GitHub's limits,
// and how long to wait then: what Retry-After says, else until the hour's quota
// is renewed, else a minute. The secondary limit may come without any header;
// its documentation is then what tells it from other refusals.
func (c *Client) limit(response *http.Response, documentation string) (wait time.Duration, limited bool) {
	if response.StatusCode != http.StatusForbidden && response.StatusCode != http.StatusTooManyRequests {
		return 0, false
	}
	now := c.now()
	// The reset is a time of GitHub's clock, which the answer has too.
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		now = date
	}
	if after := response.Header.Get("Retry-After"); after != "" {
		if seconds, err := strconv.Atoi(after); err == nil {
			return max(shortestWait, time.Duration(seconds)*time.Second), true
		}
		if date, err := http.ParseTime(after); err == nil {
			return max(shortestWait, date.Sub(now)), true
		}
	}
	if response.Header.Get(remaining) == "0" {
		if seconds, err := strconv.ParseInt(response.Header.Get(reset), 10, 64); err == nil {
			return max(0, time.Unix(seconds, 0).Sub(now)) + time.Second, true
		}
		return secondaryWait, true
	}
	return secondaryWait, response.StatusCode == http.StatusTooManyRequests ||
		strings.Contains(documentation, "secondary-rate-limits") || strings.HasSuffix(documentation, "#abuse-rate-limits")
}
