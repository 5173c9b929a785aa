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

// Failure is a registry that cannot be used, or not for this. Its text has no
// address: the one that a registry redirects to may be signed.
type Failure struct {
	// Where is the repository, Doing what failed there.
	Where, Doing string
	Err          error
}

// Error says what failed where, and what helps.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %s: %s", f.Doing, f.Where, Reason(f.Err))
}

// Unwrap returns the cause; its own text may have a secret in it.
func (f *Failure) Unwrap() error { return f.Err }

// failed makes a Failure of an error, unless the context has ended.
func (r *Repository) failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	var failure *Failure
	if errors.As(err, &failure) {
		return err
	}
	return &Failure{r.String(), doing, err}
}

// Status returns the HTTP status that an error comes from, or 0.
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

// Refused tells whether a registry wants other credentials, or any.
func Refused(err error) bool {
	code := Status(err)
	return code == http.StatusUnauthorized || code == http.StatusForbidden
}

// maxError is how much of the body of an error is read.
const maxError = 8 << 10

// answered is the error of an answer: a status, and what the registry says of it.
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

// temporary tells whether an error may pass.
func temporary(err error) bool {
	if code := Status(err); code != 0 {
		return web.TemporaryStatus(code)
	}
	return web.Temporary(err)
}

// Rest waits before something that has failed so often is tried again.
func (c *Client) Rest(ctx context.Context, failures int) error {
	return c.options.Pace.Rest(ctx, c.options.Pace.Backoff(failures))
}

// Reason is the text of an error of a registry without any address.
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

// saidBy returns what a registry says of an error.
func saidBy(err error) errcode.Errors {
	var response *errcode.ErrorResponse
	if !errors.As(err, &response) {
		return nil
	}
	return response.Errors
}

// detailOf returns the reason that some registries give in addition to the message.
func detailOf(said errcode.Error) string {
	detail, _ := said.Detail.(map[string]any)
	message, _ := detail["message"].(string)
	return message
}

// explained tells whether a registry gives a reason for its answer. Some give
// the plain code only.
func explained(err error) bool {
	return slices.ContainsFunc(saidBy(err), func(said errcode.Error) bool { return detailOf(said) != "" })
}
