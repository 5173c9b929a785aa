package registrytest

import (
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
)

// removal adds to the registry of go-containerregistry that a manifest is removed with
// its tags, as the specification has it.
type removal struct {
	http.Handler
	mu sync.Mutex
	// digests are those of the tags, by the path of the tag.
	digests map[string]string
}

func (r *removal) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	folder, reference := path.Split(request.URL.Path)
	if !strings.HasSuffix(folder, "/manifests/") || request.Method != http.MethodPut && request.Method != http.MethodDelete {
		r.Handler.ServeHTTP(w, request)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if request.Method == http.MethodPut {
		r.Handler.ServeHTTP(w, request)
		if digest := w.Header().Get("Docker-Content-Digest"); digest != "" && !strings.Contains(reference, ":") {
			r.digests[request.URL.Path] = digest
		}
		return
	}
	for tag, digest := range r.digests {
		if digest == reference && path.Dir(tag)+"/" == folder {
			delete(r.digests, tag)
			untag := httptest.NewRequestWithContext(request.Context(), http.MethodDelete, tag, http.NoBody)
			r.Handler.ServeHTTP(httptest.NewRecorder(), untag)
		}
	}
	r.Handler.ServeHTTP(w, request)
}
