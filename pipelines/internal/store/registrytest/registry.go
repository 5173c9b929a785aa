// Package registrytest runs registries for tests: one in the process, the
// distribution's, and either with faults on the way to it. Only tests import it.
package registrytest

import (
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// New starts an empty registry in this process, which ends with the test, and
// returns its HOST:PORT.
func New(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}
