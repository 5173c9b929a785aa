package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// failure is a registry that cannot be used, or not for this. Its text has no
// address: the one that a registry redirects to may be signed.
type failure struct {
	registry, doing string
	err             error
}

// Error says what failed where.
func (f *failure) Error() string {
	return fmt.Sprintf("%s: %s: %s", f.doing, f.registry, reason(f.err))
}

// Unwrap returns the cause; its own text may have a secret in it.
func (f *failure) Unwrap() error { return f.err }

// failed makes a failure of an error, unless it comes of the caller's context.
func (r *Registry) failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	return &failure{r.String(), doing, err}
}

// statusError is an HTTP status that is not the one wanted.
type statusError struct{ code int }

// Error names the status.
func (s statusError) Error() string { return statusText(s.code) }

func statusText(code int) string { return fmt.Sprintf("%d %s", code, http.StatusText(code)) }

// status returns the HTTP status that an error comes from, or 0.
func status(err error) int {
	var own statusError
	var response *errcode.ErrorResponse
	switch {
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &response):
		return response.StatusCode
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return http.StatusUnauthorized
	}
	return 0
}

// refused tells whether a registry wants other credentials, or any.
func refused(err error) bool {
	code := status(err)
	return code == http.StatusUnauthorized || code == http.StatusForbidden
}

// The addresses in the texts of oras-go are those after redirections.
var (
	request = regexp.MustCompile(`\b[A-Z]+ "[^"]*": `)
	query   = regexp.MustCompile(`(://[^\s"?]*)\?[^\s"]*`)
)

// reason is the text of an error of a registry without any address.
func reason(err error) string {
	return query.ReplaceAllString(request.ReplaceAllString(cause(err), ""), "$1")
}

// cause is reason with the addresses that are in the texts of other packages.
func cause(err error) string {
	var response *errcode.ErrorResponse
	if errors.As(err, &response) {
		if len(response.Errors) > 0 && response.Errors[0].Message != "" {
			return fmt.Sprintf("%s: %s", statusText(response.StatusCode), response.Errors[0].Message)
		}
		return statusText(response.StatusCode)
	}
	var address *url.Error
	if errors.As(err, &address) {
		return cause(address.Err)
	}
	if code := status(err); code != 0 {
		return statusText(code)
	}
	return err.Error()
}

// login says how to give credentials.
func (r *Registry) login() string {
	return fmt.Sprintf("set ARTEFACT_REGISTRY_USERNAME and ARTEFACT_REGISTRY_PASSWORD, or run docker login %s", r.ref.Registry)
}

// hinted adds to the error of a registry that refuses what helps.
func (r *Registry) hinted(err error) error {
	if refused(err) {
		return fmt.Errorf("%w: %s", err, r.login())
	}
	return err
}

// loginHint is what hinted adds, or "".
func (r *Registry) loginHint(err error) string {
	if refused(err) {
		return "; " + r.login()
	}
	return ""
}

// giveUp has the registry not asked any more, for the failure that it notes.
func (r *Registry) giveUp(why *failure) {
	r.mu.Lock()
	was := r.down
	r.down = true
	r.mu.Unlock()
	if !was {
		r.say(fmt.Sprintf("%v: going on without the registry", why))
	}
}

// condemn has an artifact not offered again.
func (r *Registry) condemn(ref Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.damaged[ref] = true
}

// absolve takes back a condemnation: what is there now is known to be whole.
func (r *Registry) absolve(ref Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.damaged, ref)
}

// condemned tells whether an artifact, or another entry, could not be read though
// its manifest answered: it turned out to be damaged, or the registry failed.
func (r *Registry) condemned(ref Ref) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.damaged[ref]
}

// ignored tells whether an artifact is not to be asked for.
func (r *Registry) ignored(ref Ref) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down || r.damaged[ref]
}

// tell notes a text the first time.
func (r *Registry) tell(text string) {
	r.mu.Lock()
	first := !r.noted[text]
	r.noted[text] = true
	r.mu.Unlock()
	if first {
		r.say(text)
	}
}

// say notes a text.
func (r *Registry) say(text string) {
	if r.options.Note == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.options.Note(text)
}
