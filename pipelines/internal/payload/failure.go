package payload

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// failure is an error of a registry whose text has no address: the state of an
// upload, and what a registry redirects to, may be signed there.
type failure struct{ err error }

// Error is the text without addresses.
func (f failure) Error() string { return reason(f.err) }

// Unwrap returns the error; its own text may have a secret in it.
func (f failure) Unwrap() error { return f.err }

var query = regexp.MustCompile(`(://[^\s"?]*)\?[^\s"]*`)

// reason says what went wrong with a request, without its address.
func reason(err error) string {
	var answer *transport.Error
	if errors.As(err, &answer) {
		text := statusText(answer.StatusCode)
		for _, d := range answer.Errors {
			if d.Message != "" {
				text += ": " + d.Message
			}
		}
		return text
	}
	var address *url.Error
	if errors.As(err, &address) {
		return reason(address.Err)
	}
	return query.ReplaceAllString(err.Error(), "$1")
}

func statusText(code int) string { return fmt.Sprintf("%d %s", code, http.StatusText(code)) }

// status returns that of a registry's answer, or 0.
func status(err error) int {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// failed says what failed in the repository, and what helps.
func (r *Repository) failed(doing string, err error) error {
	hint := ""
	if code := status(err); code == http.StatusUnauthorized || code == http.StatusForbidden {
		hint = "; run docker login " + r.repository.RegistryStr() + " as somebody who may push"
	}
	return fmt.Errorf("%s: %s: %w%s", doing, r, failure{err}, hint)
}
