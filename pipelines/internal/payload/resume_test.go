package payload

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// remembering is a registry that reports how much of an upload it has, as the
// distribution specification requires. The in-process registry keeps the bytes, but
// does not report them.
type remembering struct {
	registry http.Handler
	// uploading is held while bytes of an upload come in.
	uploading sync.Mutex
	have      map[string]int64
	asked     int
}

// ServeHTTP serves one request.
func (s *remembering) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	id := path.Base(request.URL.Path)
	if !strings.Contains(request.URL.Path, "/blobs/uploads/") || request.Method == http.MethodPost {
		s.registry.ServeHTTP(w, request)
		return
	}
	s.uploading.Lock()
	defer s.uploading.Unlock()
	if request.Method == http.MethodGet {
		s.asked++
		w.Header().Set("Location", request.URL.Path)
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, s.have[id]-1)))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body := request.Body
	request.Body = io.NopCloser(readerFunc(func(p []byte) (int, error) {
		n, err := body.Read(p)
		s.have[id] += int64(n)
		return n, err
	}))
	s.registry.ServeHTTP(w, request)
}

// TestResume loses the connection in the middle of a layer, four times: it goes on
// from there, and does not give up, because each time more of it is there.
func TestResume(t *testing.T) {
	front := &remembering{registry: registry.New(registry.Logger(quiet())), have: map[string]int64{}}
	server := httptest.NewServer(front)
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	o := options(t)
	const size = 10 << 20
	o.Components = []archive.Component{component(t, "rootfs-image", size, 1)}
	o.Files = nil
	image := make1(t, o)
	var rules []registrytest.Rule
	for i := range 4 {
		// A rule that does nothing is not counted as met: each of these is the first.
		rules = append(rules, registrytest.Rule{Method: "PATCH", Path: "uploads", Nth: 1, Do: registrytest.ResetBody(int64(i+1) << 20)})
	}
	faults := &registrytest.Faults{Rules: rules}
	pace := quick
	pace.Tries = 2
	with, _ := remotes(faults, pace)
	r, err := OpenRepository(host+"/kata", with)
	if err != nil {
		t.Fatal(err)
	}
	pushed := push1(t, r, image, Tag{Name: "a"})
	wantImage(t, host+"/kata:a", image)
	if front.asked == 0 || len(methods(faults, http.MethodPatch)) < 3 {
		t.Errorf("asked %d times how much is there, and sent %q", front.asked, methods(faults, http.MethodPatch))
	}
	// The bytes in flight when the connection was lost are sent again.
	if pushed.Sent > size+size/4 {
		t.Errorf("sent %d bytes for a layer of %d", pushed.Sent, size)
	}
}

// TestLoginRunsOut has tokens that expire after a few requests, also in the middle of
// an upload.
func TestLoginRunsOut(t *testing.T) {
	var mu sync.Mutex
	left, given := 0, 0
	backend := registry.New(registry.Logger(quiet()))
	var host string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if request.URL.Path == "/token" {
			given++
			left = 4
			if scope := request.URL.Query().Get("scope"); scope != "repository:kata:pull,push" {
				t.Errorf("asked for a token for %q", scope)
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"token": fmt.Sprint("t", given)})
			return
		}
		if request.Header.Get("Authorization") != fmt.Sprint("Bearer t", given) || left == 0 {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="kata",scope="repository:kata:push,pull"`, host))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		left--
		backend.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	image := make1(t, options(t))
	with, _ := remotes(nil, quick)
	with.Parallel = 1
	r, err := OpenRepository(host+"/kata", with)
	if err != nil {
		t.Fatal(err)
	}
	push1(t, r, image, Tag{Name: "a"})
	if given < 3 {
		t.Errorf("%d tokens were given, want more", given)
	}
	if again := push1(t, r, image, Tag{Name: "a"}); again.Changed {
		t.Errorf("pushed again: %+v", again)
	}
}
