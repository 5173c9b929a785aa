package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

var (
	// ErrNotFound is the error of what the repository does not have, or does not
	// show to the token's owner.
	ErrNotFound = errors.New("not found")
	// ErrPublished is the error of changes to a release that is published.
	ErrPublished = errors.New("the release is published")
)

// failure is a request that did not do what it was to. Its text has no address,
// since those that GitHub redirects to are signed.
type failure struct {
	// doing says what for, as in "listing the assets".
	doing string
	// status is that of the answer, 0 where there was none.
	status int
	// message and fields are GitHub's words.
	message string
	fields  []field
	// limited is true where nothing was done because of a limit, and wait is how
	// long to wait then.
	limited bool
	wait    time.Duration
	err     error
}

// field is a value of a request that GitHub does not take.
type field struct {
	Resource, Field, Code, Message string
}

// UnmarshalJSON takes GitHub's older form too, a string.
func (f *field) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &f.Message)
	}
	type plain field
	return json.Unmarshal(data, (*plain)(f))
}

// Error says what failed, why, and what to do about it.
func (f *failure) Error() string {
	if f.status == 0 {
		return fmt.Sprintf("%s: %v", f.doing, f.err)
	}
	text := fmt.Sprintf("%s: GitHub answers %d %s", f.doing, f.status, http.StatusText(f.status))
	if f.message != "" {
		text += ": " + f.message
	}
	for _, field := range f.fields {
		text += " (" + strings.Join(slices.DeleteFunc([]string{field.Resource, field.Field, field.Code, field.Message},
			func(part string) bool { return part == "" }), " ") + ")"
	}
	switch {
	case f.status == http.StatusUnauthorized:
		text += ": the token is not valid (any more)"
	case f.status == http.StatusForbidden && !f.limited, f.status == http.StatusNotFound:
		text += ": the token must be allowed to write the contents of the repository, and the repository must exist"
	}
	return text
}

// Unwrap returns the cause, which is ErrNotFound for a 404.
func (f *failure) Unwrap() error { return f.err }

// transient tells whether the same request may succeed a little later.
func (f *failure) transient() bool {
	switch f.status {
	case 0, http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// isTransient tells whether an error is a failure that may pass.
func isTransient(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.transient()
}

// isTaken tells whether GitHub has something of that name already.
func isTaken(err error, resource string) bool {
	var f *failure
	return errors.As(err, &f) && f.status == http.StatusUnprocessableEntity &&
		slices.ContainsFunc(f.fields, func(f field) bool { return f.Resource == resource && f.Code == "already_exists" })
}

// lost makes a failure of a request that got no answer, or not all of it.
func lost(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errStalled) {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	var address *url.Error
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.As(err, &address):
		err = address.Err
	}
	return &failure{doing: doing, err: err}
}

// refused makes a failure of an answer that is no success.
func (c *Client) refused(doing string, response *http.Response) error {
	f := &failure{doing: doing, status: response.StatusCode}
	var said struct {
		Message          string
		Errors           []field
		DocumentationURL string `json:"documentation_url"`
	}
	// What is no JSON, as a proxy's page is not, has nothing to say.
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && json.Unmarshal(data, &said) == nil {
		f.message, f.fields = c.masked(said.Message), said.Errors
	}
	if f.status == http.StatusNotFound {
		f.err = ErrNotFound
	}
	f.wait, f.limited = c.limit(response, said.DocumentationURL)
	return f
}

// masked returns a text without the token.
func (c *Client) masked(text string) string {
	if c.options.Token == "" {
		return text
	}
	return strings.ReplaceAll(text, c.options.Token, "***")
}
