package github

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	api "github.com/google/go-github/v82/github"
)

var (
	// ErrNotFound is the error of something that the repository lacks, or hides
	// from the token's owner.
	ErrNotFound = errors.New("not found")
	// ErrPublished is the error of changes to a release that is published.
	ErrPublished = errors.New("the release is published")
)

// failure is a request that failed. Its text has no address, since those that
// GitHub redirects to are signed.
type failure struct {
	// doing says what for, as in "listing the assets".
	doing string
	// status is that of the answer, 0 where there was none, and said its content.
	status int
	said   api.ErrorResponse
	// temporary is true where the same request may succeed a little later.
	temporary bool
	// wait is how long a limit lasts that refused it.
	wait time.Duration
	err  error
}

// Error says what failed, why, and what to do about it.
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
		text += ": the token is not valid (any more)"
	case f.status == http.StatusForbidden, f.status == http.StatusNotFound:
		text += ": the token must be allowed to write the contents of the repository, and the repository must exist"
	}
	return text
}

// Unwrap returns the cause, which is ErrNotFound for a 404.
func (f *failure) Unwrap() error { return f.err }

// isTemporary tells whether an error is a failure that may pass.
func isTemporary(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.temporary
}

// isTaken tells whether GitHub has something of that name already.
func isTaken(err error, resource string) bool {
	var f *failure
	return errors.As(err, &f) && f.status == http.StatusUnprocessableEntity &&
		slices.ContainsFunc(f.said.Errors, func(e api.Error) bool { return e.Resource == resource && e.Code == "already_exists" })
}

// masked returns a text without the token.
func (c *Client) masked(text string) string {
	if c.options.Token == "" {
		return text
	}
	return strings.ReplaceAll(text, c.options.Token, "***")
}
