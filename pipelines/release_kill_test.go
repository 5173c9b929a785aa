package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github/githubtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

var killEverywhere = flag.Bool("kill-everywhere", false, "kill releases at each of their requests, not at some")

// killing is a world that releases are made in: a GitHub, a registry, an output
// folder. Requests to both servers are counted, and one of them can be the last that
// the program makes.
type killing struct {
	program, tree, cache, output string

	github   *githubtest.Server
	registry *httptest.Server

	mu   sync.Mutex
	seen int
	// At is the request that kills, from 1; 0 is none. After has it be served first.
	at    int
	after bool
	// process is the one that runs.
	process *os.Process
	// killed is closed once it was.
	killed bool
	// sent are the names of files, and the digests of layers, that were taken in.
	sent []string
}

// newKilling starts the servers, new ones.
func newKilling(t *testing.T, program, tree, cache, commit string) *killing {
	k := &killing{program: program, tree: tree, cache: cache, output: filepath.Join(t.TempDir(), "out")}
	k.github = githubtest.New(t, "kata-containers/kata-containers")
	k.github.Commits = []string{commit}
	k.github.Around = k.around
	to := &url.URL{Scheme: "http", Host: registrytest.New(t)}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	k.registry = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { k.around(w, r, proxy.ServeHTTP) }))
	t.Cleanup(k.registry.Close)
	return k
}

// around counts a request, and kills the program before it or after.
func (k *killing) around(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc) {
	k.mu.Lock()
	k.seen++
	kill := k.seen == k.at
	if kill && !k.after {
		k.kill()
	}
	k.mu.Unlock()
	if kill && !k.after {
		panic(http.ErrAbortHandler)
	}
	answer := httptest.NewRecorder()
	serve(answer, r)
	k.mu.Lock()
	defer k.mu.Unlock()
	if answer.Code == http.StatusCreated && r.Method != http.MethodPatch {
		if name := r.URL.Query().Get("name"); name != "" {
			k.sent = append(k.sent, name)
		}
		if digest := r.URL.Query().Get("digest"); digest != "" {
			k.sent = append(k.sent, digest)
		}
	}
	if kill {
		k.kill()
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // The program may be gone.
}

func (k *killing) kill() {
	k.killed = true
	_ = k.process.Signal(syscall.SIGKILL) // It may have ended by itself.
}

// run runs the program once, which must succeed unless it is killed, and returns
// what it said.
func (k *killing) run(t *testing.T, after time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, k.program, "release", "--base", "scratch", "--installer", "none", "--root", k.tree, "--cache-dir", k.cache, "--output", k.output,
		"--github", k.github.Repository, "--github-api", k.github.URL(), "--image", strings.TrimPrefix(k.registry.URL, "http://")+"/kata-deploy", "--json")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GITHUB_") }),
		"GH_TOKEN="+githubtest.Token, "DOCKER_CONFIG="+k.output)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	k.mu.Lock()
	k.killed = false
	err := cmd.Start()
	k.process = cmd.Process
	k.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		timer := time.AfterFunc(after, func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.kill()
		})
		defer timer.Stop()
	}
	if err := cmd.Wait(); err != nil && !k.killed {
		t.Fatalf("%v: %s", err, &output)
	}
	return output.String()
}

// state is all that a release leaves: on GitHub, in the registry, on disk.
func (k *killing) state(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	k.github.Do(func() {
		for i, release := range k.github.Releases {
			release.Body = strings.ReplaceAll(release.Body, strings.TrimPrefix(k.registry.URL, "http://"), "REGISTRY")
			state[fmt.Sprintf("release %d", i)] = fmt.Sprintf("%s draft=%v latest=%v tag=%s\n%s", release.Tag, release.Draft, release.Latest, k.github.Tags[release.Tag], release.Body)
			for _, asset := range release.Assets {
				state["asset "+asset.Name] += asset.State + " " + asset.Digest
			}
		}
	})
	for tag, digest := range k.images(t) {
		state["image "+tag] = digest
	}
	err := filepath.WalkDir(k.output, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "notes.md" { // It has the registry's name.
			return err
		}
		data, err := os.ReadFile(path)
		state["file "+strings.TrimPrefix(path, k.output)] = fmt.Sprintf("%d bytes, %x", len(data), sha(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// images returns the digests of all tags.
func (k *killing) images(t *testing.T) map[string]string {
	t.Helper()
	k.mu.Lock()
	k.at = 0
	k.mu.Unlock()
	var list struct{ Tags []string }
	get := func(path string) *http.Response {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, k.registry.URL+"/v2/kata-deploy/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	response := get("tags/list")
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil && response.StatusCode == http.StatusOK {
		t.Fatal(err)
	}
	images := map[string]string{}
	for _, tag := range list.Tags {
		response := get("manifests/" + tag)
		images[tag] = response.Header.Get("Docker-Content-Digest")
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return images
}

// finished is what was done when the program was killed: files and layers that are
// whole, and the files on disk that were not to be touched again.
func (k *killing) finished(t *testing.T) (sent map[string]bool, written map[string]time.Time) {
	t.Helper()
	sent, written = map[string]bool{}, map[string]time.Time{}
	k.mu.Lock()
	for _, name := range k.sent {
		sent[name] = true
	}
	k.sent = nil
	k.mu.Unlock()
	err := filepath.WalkDir(k.output, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".tar.zst") {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			written[path] = info.ModTime()
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return sent, written
}

// TestReleaseKilled kills a release before and after each of its requests, and at
// moments between. The next run ends in the state that one undisturbed run does,
// and does nothing twice that was finished.
func TestReleaseKilled(t *testing.T) {
	dir := t.TempDir()
	tree, cache, program := filepath.Join(dir, "tree"), filepath.Join(dir, "cache"), filepath.Join(dir, "pipelines")
	if err := releaseTree(tree, cache); err != nil {
		t.Fatal(err)
	}
	commit, err := commitAll(tree)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, program); err != nil { // Under this name it is the program.
		t.Fatal(err)
	}
	undisturbed := newKilling(t, program, tree, cache, commit)
	began := time.Now()
	undisturbed.run(t, 0)
	took, requests := time.Since(began), undisturbed.seen
	want := undisturbed.state(t)
	if len(want) < 20 || requests < 30 {
		t.Fatalf("the undisturbed release made %d requests and left %d things: %v", requests, len(want), want)
	}
	t.Logf("an undisturbed release makes %d requests in %s", requests, took)
	try := func(t *testing.T, at int, after bool, moment time.Duration) {
		k := newKilling(t, program, tree, cache, commit)
		k.at, k.after = at, after
		k.run(t, moment)
		if at > 0 && !k.killed {
			t.Fatalf("there was no request %d to be killed at", at)
		}
		sent, written := k.finished(t)
		k.at = 0
		said := k.run(t, 0)
		if diff := cmp.Diff(want, k.state(t)); diff != "" {
			t.Errorf("the state is another (-undisturbed +killed):\n%s\n%s", diff, said)
		}
		again, _ := k.finished(t)
		for name := range again {
			if sent[name] {
				t.Errorf("%s was sent twice", name)
			}
		}
		for path, at := range written {
			if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(at) {
				t.Errorf("%s was written twice (%v)", path, err)
			}
		}
	}
	step := max(1, requests/6)
	if *killEverywhere {
		step = 1
	}
	for at := 1; at <= requests; at += step {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("request %d after=%v", at, after), func(t *testing.T) {
				t.Parallel()
				try(t, at, after, 0)
			})
		}
	}
	for i := 1; i < 20; i += min(step, 5) {
		moment := took * time.Duration(i) / 20
		t.Run("after "+moment.String(), func(t *testing.T) {
			t.Parallel()
			try(t, 0, false, moment)
		})
	}
}

func sha(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}
