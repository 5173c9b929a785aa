package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// content is what the places of most tests hold: several reads long.
var content = bytes.Repeat([]byte("kata containers\n"), 1<<16)

const etag = `"v1"`

// server is an HTTP server that serves content well unless told otherwise.
type server struct {
	*httptest.Server
	mu sync.Mutex
	// ranges are the Range headers of the requests so far.
	ranges []string
	// misbehave handles request n (from 0) and reports whether it did.
	misbehave func(n int, w http.ResponseWriter, r *http.Request) bool
}

func serve(t *testing.T, misbehave func(n int, w http.ResponseWriter, r *http.Request) bool) *server {
	s := &server{misbehave: misbehave}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n := len(s.ranges)
		s.ranges = append(s.ranges, r.Header.Get("Range"))
		s.mu.Unlock()
		if s.misbehave != nil && s.misbehave(n, w, r) {
			return
		}
		w.Header().Set("ETag", etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ranges)
}

// drop sends half of the content and breaks the connection.
func drop(w http.ResponseWriter) {
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	_, _ = w.Write(content[:len(content)/2])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func status(code int) func(int, http.ResponseWriter, *http.Request) bool {
	return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		return true
	}
}

// notes collects what a fetch says.
type notes struct {
	mu  sync.Mutex
	out bytes.Buffer
	// said is called for each piece of text.
	said func()
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.said != nil {
		n.said()
	}
	return n.out.Write(p)
}

func (n *notes) text() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.out.String()
}

func (n *notes) report() *progress.Reporter { return progress.New(n, progress.Plain, nil) }

func (n *notes) stage() *progress.Stage { return n.report().Stage("test", "source") }

func (n *notes) want(t *testing.T, parts ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(n.text()), "\n")
	if n.text() == "" {
		lines = nil
	}
	if len(lines) != len(parts) {
		t.Fatalf("notes %q, want %d", lines, len(parts))
	}
	for i, part := range parts {
		if !strings.Contains(lines[i], part) {
			t.Errorf("note %q, want one with %q", lines[i], part)
		}
	}
}

func fetcher(t *testing.T) *Fetcher {
	return &Fetcher{Dir: t.TempDir(), Pace: web.Pace{Stall: 5 * time.Second, First: time.Millisecond}}
}

func place(name, url string, data []byte) versions.Place {
	return versions.Place{Name: name, URL: url, SHA256: hashText(string(data)), Line: 7}
}

func linux(places ...versions.Place) versions.Source {
	return versions.Source{Name: "linux", Places: places}
}

func wantFetched(t *testing.T, f *Fetcher, got Fetched, err error, place string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	want := Fetched{Name: "linux", Path: f.final(hashText(string(content))), Place: place, From: got.From, SHA256: hashText(string(content)), Size: int64(len(content))}
	if got != want {
		t.Errorf("fetched %+v, want %+v", got, want)
	}
	if data, err := os.ReadFile(got.Path); err != nil || !bytes.Equal(data, content) {
		t.Errorf("the cached file has %d bytes, %v", len(data), err)
	}
	wantFiles(t, f, want.SHA256)
}

// wantFiles checks which files are in the cache.
func wantFiles(t *testing.T, f *Fetcher, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(f.Dir, "sha256"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("the cache holds %q, want %q", names, want)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q, want one with %q", err, part)
		}
	}
}

func TestFetchAndCache(t *testing.T) {
	s, f, n := serve(t, nil), fetcher(t), &notes{}
	var out bytes.Buffer
	report := progress.New(&out, progress.Terminal, func() int { return 100 })
	got, err := f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), report.Stage("linux", "source"))
	wantFetched(t, f, got, err, "upstream")
	report.Note("linux", "fetched") // Paints the stage.
	report.Close()
	if want := "100% of " + progress.Size(int64(len(content))); !strings.Contains(out.String(), want) {
		t.Errorf("the progress is %q, want %q", out.String(), want)
	}
	got, err = f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), nil)
	wantFetched(t, f, got, err, "upstream")
	// The cache is asked for the hash of every place before any is asked.
	got, err = f.Fetch(t.Context(), linux(place("other", s.URL, []byte("other")), place("same", s.URL, content)), n.stage())
	wantFetched(t, f, got, err, "same")
	f.Offline = true
	got, err = f.Fetch(t.Context(), linux(place("upstream", s.URL, content)), n.stage())
	wantFetched(t, f, got, err, "upstream")
	if asked := s.asked(); len(asked) != 1 {
		t.Errorf("%d requests, want 1", len(asked))
	}
	n.want(t)
}

func TestDamagedCache(t *testing.T) {
	write := func(data []byte) func(string) error {
		return func(path string) error { return os.WriteFile(path, data, 0o644) }
	}
	for name, damage := range map[string]func(path string) error{
		"empty":      write(nil),
		"short":      write([]byte("short")),
		"other byte": write(append([]byte("K"), content[1:]...)),
		"named pipe": func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"link":       func(path string) error { return os.Symlink("/dev/zero", path) },
		"folder":     func(path string) error { return os.MkdirAll(filepath.Join(path, "folder"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			s, f, n := serve(t, nil), fetcher(t), &notes{}
			source := linux(place("upstream", s.URL, content))
			path := f.final(hashText(string(content)))
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), damage(path)); err != nil {
				t.Fatal(err)
			}
			has, err := f.Has(t.Context(), source.Places[0])
			if info, _ := os.Lstat(path); err != nil || has.Cached != info.Mode().IsRegular() {
				t.Errorf("has %+v, %v", has, err)
			}
			if state, err := f.Check(t.Context(), source.Places[0]); err != nil || state.Damage == "" {
				t.Errorf("checked %+v, %v", state, err)
			}
			got, err := f.Fetch(t.Context(), source, n.stage())
			wantFetched(t, f, got, err, "upstream")
			n.want(t, "damaged")
		})
	}
}

func TestNextPlace(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, address := range map[string]string{
		"404":     serve(t, status(404)).URL,
		"503":     serve(t, status(503)).URL,
		"403":     serve(t, status(403)).URL,
		"refused": closed.URL,
		"no host": "http://kata.invalid/linux.tar.xz",
		"scheme":  "mirror+file:///etc/mirrors",
	} {
		t.Run(name, func(t *testing.T) {
			good, f, n := serve(t, nil), fetcher(t), &notes{}
			got, err := f.Fetch(t.Context(), linux(place("upstream", address, []byte("x")), place("debian", good.URL, content)), n.stage())
			wantFetched(t, f, got, err, "debian")
			n.want(t, `trying "debian"`)
		})
	}
}

func TestWrongBytesAreNoFallback(t *testing.T) {
	bad, good := serve(t, nil), serve(t, nil)
	for name, test := range map[string]struct {
		size int64
		want string
	}{
		"hash":     {0, "sha256 " + hashText(string(content))},
		"too long": {10, fmt.Sprintf("has %d bytes", len(content))},
		"short":    {1 << 30, "sha256 " + hashText(string(content))},
	} {
		t.Run(name, func(t *testing.T) {
			f, n := fetcher(t), &notes{}
			first := place("upstream", bad.URL+"/linux.tar", []byte("x"))
			first.Size = test.size
			_, err := f.Fetch(t.Context(), linux(first, place("debian", good.URL, content)), n.stage())
			wantError(t, err, `place "upstream" (line 7)`, bad.URL+"/linux.tar", test.want, "sha256 "+first.SHA256, "--place", "--source linux=PATH")
			n.want(t)
			wantFiles(t, f)
		})
	}
	if asked := good.asked(); len(asked) != 0 {
		t.Errorf("the next place was asked %d times", len(asked))
	}
}

func TestAllFail(t *testing.T) {
	a, b := serve(t, status(404)), serve(t, status(500))
	f := fetcher(t)
	_, err := f.Fetch(t.Context(), linux(place("upstream", a.URL+"/a", content), place("debian", b.URL+"/b", content), versions.Place{Name: "bare", URL: a.URL}), nil)
	want := "no place of source \"linux\" has the file:\n" +
		"  upstream: " + a.URL + "/a: the server answered 404 Not Found\n" +
		"  debian: " + b.URL + "/b: the server answered 500 Internal Server Error\n" +
		"  bare: its sha256 is unknown; add that of a file that you trust\n" +
		"give its file with --source linux=PATH"
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
	wantFiles(t, f)
}

func TestNoCredentialsInErrors(t *testing.T) {
	address := func(s *httptest.Server) string {
		return strings.Replace(s.URL, "//", "//user:secret@", 1) + "/x?token=secret"
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	redirect := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, address(closed), http.StatusFound)
		return true
	})
	for _, url := range []string{address(closed), address(serve(t, status(401)).Server), address(serve(t, nil).Server), redirect.URL, "http://user:secret@bad host/"} {
		f, n := fetcher(t), &notes{}
		_, err := f.Fetch(t.Context(), linux(place("a", url, []byte("x")), place("b", url, []byte("x"))), n.stage())
		wantError(t, err)
		if text := err.Error() + n.text(); strings.Contains(text, "secret") || strings.Contains(text, "user") {
			t.Errorf("credentials in %q", text)
		}
	}
}

func TestPlaceByName(t *testing.T) {
	s, f := serve(t, nil), fetcher(t)
	source := linux(place("upstream", s.URL, []byte("x")), place("debian", s.URL, content))
	f.Place = "debian"
	got, err := f.Fetch(t.Context(), source, nil)
	wantFetched(t, f, got, err, "debian")
	f.Place = "debain"
	_, err = f.Fetch(t.Context(), source, nil)
	wantError(t, err, `source "linux" has no place "debain"`, `did you mean "debian"?`, "upstream, debian")
}

func TestLocal(t *testing.T) {
	f := fetcher(t)
	path := filepath.Join(t.TempDir(), "linux.tar")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	f.Local = map[string]string{"linux": path}
	hash := hashText(string(content))
	got, err := f.Fetch(t.Context(), linux(place("a", "", []byte("x")), place("b", "", content)), nil)
	if want := (Fetched{"linux", LocalPlace, FromFile, path, hash, int64(len(content))}); err != nil || got != want {
		t.Errorf("fetched %+v, %v, want %+v", got, err, want)
	}
	_, err = f.Fetch(t.Context(), linux(place("a", "", []byte("x")), place("b", "", []byte("y"))), nil)
	wantError(t, err, path, hash, "a "+hashText("x"), "b "+hashText("y"))
	_, err = f.Fetch(t.Context(), linux(versions.Place{Name: "go", Go: &versions.GoModule{}}), nil)
	wantError(t, err, "declares no sha256")
	f.Local["linux"] = path + "x"
	if _, err = f.Fetch(t.Context(), linux(place("a", "", content)), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
}

func TestOffline(t *testing.T) {
	s, f := serve(t, nil), fetcher(t)
	f.Offline = true
	_, err := f.Fetch(t.Context(), linux(place("a", s.URL, content), place("b", s.URL, []byte("x"))), nil)
	wantError(t, err, f.Dir, "sha256:"+hashText(string(content)), "sha256:"+hashText("x"), "--source linux=PATH")
	if asked := s.asked(); len(asked) != 0 {
		t.Errorf("%d requests offline", len(asked))
	}
}

func TestConcurrentFetchesDownloadOnce(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(int, http.ResponseWriter, *http.Request) bool { <-release; return false })
	dir := t.TempDir()
	var group sync.WaitGroup
	waiting := make(chan struct{}, 1)
	for range 2 {
		group.Go(func() {
			n := &notes{said: func() { waiting <- struct{}{} }}
			f := &Fetcher{Dir: dir, Report: n.report()}
			got, err := f.Fetch(context.Background(), linux(place("upstream", s.URL, content)), nil)
			wantFetched(t, f, got, err, "upstream")
		})
	}
	<-waiting
	close(release)
	group.Wait()
	if asked := s.asked(); len(asked) != 1 {
		t.Errorf("%d requests, want 1", len(asked))
	}
}

func hashText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
