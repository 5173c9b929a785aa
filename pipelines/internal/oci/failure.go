package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// Failure is the error of a registry that refuses or fails a request. Its text has no
// URL: registries redirect to signed ones.
type Failure struct {
	// Where is the repository, Doing what failed there.
	Where, Doing string
	Err          error
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %s: %s", f.Doing, f.Where, Reason(f.Err))
}

// Unwrap returns the cause. Its text may contain a secret.
func (f *Failure) Unwrap() error { return f.Err }

// failed wraps an error in a Failure, unless the context has ended.
func (r *Repository) failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	if _, ok := errors.AsType[*Failure](err); ok {
		return err
	}
	return &Failure{r.String(), doing, err}
}

// Status returns the HTTP status behind an error, or 0.
func Status(err error) int {
	var response *errcode.ErrorResponse
	switch {
	case errors.As(err, &response):
		return response.StatusCode
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return http.StatusUnauthorized
	}
	return 0
}

// Refused reports whether a registry denied access: it requires credentials, or others.
func Refused(err error) bool { return refusal(Status(err)) }

func refusal(code int) bool { return code == http.StatusUnauthorized || code == http.StatusForbidden }

// maxError is how much of an error's body is read, in bytes.
const maxError = 8 << 10

// answered returns the error of a response: its status, and the registry's explanation.
func answered(response *http.Response) error {
	failed := &errcode.ErrorResponse{Method: response.Request.Method, URL: response.Request.URL, StatusCode: response.StatusCode}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxError))
	if err == nil {
		var said struct{ Errors errcode.Errors }
		if json.Unmarshal(body, &said) == nil {
			failed.Errors = said.Errors
		}
	}
	return failed
}

// temporary reports whether a retry may succeed.
func temporary(err error) bool {
	if code := Status(err); code != 0 {
		return web.TemporaryStatus(code)
	}
	return web.Temporary(err)
}

// Rest waits before the next attempt, after that many failures.
func (c *Client) Rest(ctx context.Context, failures int) error {
	return c.options.Pace.Rest(ctx, c.options.Pace.Backoff(failures))
}

// Reason returns the text of a registry's error without URLs.
func Reason(err error) string {
	code := Status(err)
	if code == 0 {
		return web.Reason(err)
	}
	text := web.StatusText(code)
	for _, said := range saidBy(err) {
		if said.Message != "" {
			text += ": " + said.Message
		}
		if detail := detailOf(said); detail != "" {
			text += " (" + detail + ")"
		}
	}
	return web.Reason(errors.New(text))
}

// saidBy returns the registry's explanation of an error.
func saidBy(err error) errcode.Errors {
	var response *errcode.ErrorResponse
	if !errors.As(err, &response) {
		return nil
	}
	return response.Errors
}

// detailOf returns the reason that some registries add to the message.
func detailOf(said errcode.Error) string {
	detail, _ := said.Detail.(map[string]any)
	message, _ := detail["message"].(string)
	return message
}

// explained reports whether a registry gives a reason for an error. Some send only the
// status.
func explained(err error) bool {
	return slices.ContainsFunc(saidBy(err), func(said errcode.Error) bool { return detailOf(said) != "" })
}
