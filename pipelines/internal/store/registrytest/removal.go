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
	// digests are the paths of manifests by the path of a tag; tags are the reverse.
	digests map[string]string
	tags    map[string]map[string]bool
}

func (r *removal) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	folder, reference := path.Split(request.URL.Path)
	if !strings.HasSuffix(folder, "/manifests/") || request.Method != http.MethodPut && request.Method != http.MethodDelete {
		r.Handler.ServeHTTP(w, request)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if request.Method == http.MethodDelete {
		for tag := range r.tags[request.URL.Path] {
			untag := httptest.NewRequestWithContext(request.Context(), http.MethodDelete, tag, http.NoBody)
			r.Handler.ServeHTTP(httptest.NewRecorder(), untag)
			delete(r.digests, tag)
		}
		delete(r.tags, request.URL.Path)
	}
	r.Handler.ServeHTTP(w, request)
	if digest := w.Header().Get("Docker-Content-Digest"); request.Method == http.MethodPut && digest != "" && !strings.Contains(reference, ":") {
		r.point(request.URL.Path, folder+digest)
	}
}

// point moves a tag.
func (r *removal) point(tag, to string) {
	delete(r.tags[r.digests[tag]], tag)
	r.digests[tag] = to
	if r.tags[to] == nil {
		r.tags[to] = map[string]bool{}
	}
	r.tags[to][tag] = true
}
