package store

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// TestNothingHangs has a registry send the header of each kind of response, a byte of its
// body, and then nothing. It is asked twice, no more.
func TestNothingHangs(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	pushed(t, host, p)
	path, hash := sourceFile(t)
	whole, _, _ := connect(t, host)
	if _, err := whole.PushSource(t.Context(), hash, "linux.tar", path); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		ask  func(t *testing.T, r *Registry) error
		miss bool
	}{
		"manifest": {func(t *testing.T, r *Registry) error { _, err := r.Lookup(t.Context(), p.Ref); return err }, true},
		"tags":     {func(t *testing.T, r *Registry) error { _, err := r.entries(t.Context(), "qemu"); return err }, false},
		"source":   {func(t *testing.T, r *Registry) error { _, err := r.FindSource(t.Context(), hash); return err }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, faults, n := connect(t, host, registrytest.Rule{Do: registrytest.Stall(1, nil)})
			start := time.Now()
			err := test.ask(t, r)
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %s", took)
			}
			if asked := faults.Requests(); len(asked) > 2 {
				t.Errorf("sent %q", asked)
			}
			switch {
			case test.miss && (!IsNotFound(err) || !n.has("the transfer stalled for 0.3s: continuing without the registry")):
				t.Errorf("got %v, noted %q", err, n.texts())
			case !test.miss && (err == nil || !strings.Contains(err.Error(), "the transfer stalled")):
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestOwnTransportStalls is the same over a real connection.
func TestOwnTransportStalls(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("{"))
		w.(http.Flusher).Flush()
		<-request.Context().Done()
	}))
	defer server.Close()
	n := newNotes()
	r, err := OpenRegistry(strings.TrimPrefix(server.URL, "http://")+"/kata/cache", oci.Options{Pace: quick, Report: n.report})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lookup(t.Context(), sample(t, "qemu", "x86_64", 1).Ref); !IsNotFound(err) || !n.has("the transfer stalled") {
		t.Errorf("Lookup: %v, noted %q", err, n.texts())
	}
}
