package source

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/git"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// repository makes a repository with a commit that no branch names, and returns
// its folder and that commit.
func repository(t *testing.T) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
			"GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "--quiet")
	for name, content := range map[string]string{"Makefile": "all:\n", "patches/6.18.x/1.patch": "one\n", "patches/6.18.x/2.patch": "two\n"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	run("add", ".")
	run("commit", "--quiet", "--message=one")
	commit = run("rev-parse", "HEAD")
	run("tag", "--annotate", "--message=v1", "v1")
	run("commit", "--quiet", "--amend", "--message=another")
	return dir, commit
}

func gitPlace(url, commit, path, sha256 string) versions.Source {
	return linux(versions.Place{Name: "git", Line: 7, SHA256: sha256, Git: &versions.Git{URL: url, Commit: commit, Path: path}})
}

// inTar returns the members of a tar file, with their modes.
func inTar(t *testing.T, path string) []string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var members []string
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return members
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeXGlobalHeader {
			members = append(members, h.FileInfo().Mode().String()+" "+h.Name)
		}
	}
}

func TestGitPlace(t *testing.T) {
	dir, commit := repository(t)
	f := fetcher(t)
	var said notes
	got, err := f.Fetch(t.Context(), gitPlace(dir, commit, "", ""), said.stage())
	if err != nil || got.From != FromPlace || got.Place != "git" {
		t.Fatalf("fetched %+v, %v", got, err)
	}
	said.want(t, got.SHA256)
	want := []string{
		"drwxr-xr-x source/", "-rw-r--r-- source/Makefile", "drwxr-xr-x source/patches/", "drwxr-xr-x source/patches/6.18.x/",
		"-rw-r--r-- source/patches/6.18.x/1.patch", "-rw-r--r-- source/patches/6.18.x/2.patch",
	}
	if members := inTar(t, got.Path); !slices.Equal(members, want) {
		t.Errorf("the tar has %q, want %q", members, want)
	}

	// From then on no server is needed, hash or not, and the bytes are the same.
	f.Offline = true
	for commit, want := range map[string]bool{commit: true, strings.Repeat("1", 40): false} {
		place := gitPlace(dir, commit, "", "").Places[0]
		if state, err := f.Has(t.Context(), place); err != nil || state.Cached != want {
			t.Errorf("the cache has %s: %+v, %v", commit, state, err)
		}
	}
	again, err := f.Fetch(t.Context(), gitPlace(dir, commit, "", ""), nil)
	if err != nil || again.From != FromCache || again.SHA256 != got.SHA256 {
		t.Errorf("fetched again %+v, %v; first %+v", again, err, got)
	}
	f.Offline = false
	elsewhere := fetcher(t)
	other, err := elsewhere.Fetch(t.Context(), gitPlace(dir, commit, "", got.SHA256), nil)
	if err != nil || other.SHA256 != got.SHA256 {
		t.Errorf("another machine fetched %+v, %v", other, err)
	}

	some, err := f.Fetch(t.Context(), gitPlace(dir, commit, "patches/6.18.x", ""), nil)
	if err != nil || some.From != FromCache {
		t.Fatalf("fetched a folder: %+v, %v", some, err)
	}
	if members := inTar(t, some.Path); !slices.Contains(members, want[4]) || slices.Contains(members, want[1]) {
		t.Errorf("the tar of a folder has %q", members)
	}
}

func TestGitPlaceFails(t *testing.T) {
	dir, commit := repository(t)
	const never = "0123456789012345678901234567890123456789"
	for name, test := range map[string]struct {
		source versions.Source
		want   []string
	}{
		"no commit":     {gitPlace(dir, never, "", ""), []string{"has no commit " + never, "clone the repository", "--source linux=PATH"}},
		"no repository": {gitPlace(dir+"/none", commit, "", ""), []string{dir + "/none", "--source linux=PATH"}},
		"no folder":     {gitPlace(dir, commit, "patches/7", ""), []string{`place "git" (line 7)`, "has no patches/7"}},
		"other bytes":   {gitPlace(dir, commit, "", hashText("x")), []string{hashText("x"), "correct the declared hash"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := fetcher(t)
			_, err := f.Fetch(t.Context(), test.source, nil)
			wantError(t, err, test.want...)
			if left, _ := filepath.Glob(filepath.Join(f.Dir, "sha256", "*")); len(left) != 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

func TestUnpinnedRef(t *testing.T) {
	dir, commit := repository(t)
	source := gitPlace(dir, "", "", "")
	for ref, want := range map[string]string{
		"v1":   "it is commit " + commit + " today; `pipelines bump` writes that down",
		"v2":   dir + " has no tag or branch v2",
		"HEAD": "HEAD at " + dir + " is not pinned: it is commit ",
	} {
		source.Places[0].Git.Ref = ref
		_, err := fetcher(t).Fetch(t.Context(), source, nil)
		wantError(t, err, "git: ", want)
	}
	source.Places[0].Git.URL = dir + "/none"
	_, err := fetcher(t).Fetch(t.Context(), source, nil)
	wantError(t, err, "none does not answer")
}

func TestClone(t *testing.T) {
	dir, commit := repository(t)
	f := fetcher(t)
	f.Local = map[string]string{"linux": dir}
	source := gitPlace("https://unreachable.invalid/linux", commit, "", "")
	got, err := f.Fetch(t.Context(), source, nil)
	if err != nil || got.Place != LocalPlace || got.From != FromFile {
		t.Errorf("fetched %+v, %v", got, err)
	}
	source.Places[0].Git.Commit = strings.Repeat("1", 40)
	_, err = f.Fetch(t.Context(), source, nil)
	wantError(t, err, "the clone given with --source", "has no commit 1111")
	_, err = f.Fetch(t.Context(), linux(place("upstream", "https://example.org", content)), nil)
	wantError(t, err, "is a folder", "no git place")
	f.Local["linux"] = t.TempDir()
	_, err = f.Fetch(t.Context(), source, nil)
	wantError(t, err, "is a folder but not a git clone", "the commit 1111")
}

// A clone of another user is not read, and no setting of the user changes that.
func TestForeignClone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a clone to another user")
	}
	dir, commit := repository(t)
	if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, 65534, 65534))
	}); err != nil {
		t.Fatal(err)
	}
	f := fetcher(t)
	f.Local = map[string]string{"linux": dir}
	_, err := f.Fetch(t.Context(), gitPlace("https://unreachable.invalid/linux", commit, "", ""), nil)
	if !errors.Is(err, git.ErrForeign) || !strings.HasSuffix(err.Error(), "run this as its owner, or give a copy of it (cp -r) instead") {
		t.Errorf("got %v", err)
	}
}

// What a killed process leaves is neither in the way nor there for ever.
func TestGitAfterAKill(t *testing.T) {
	dir, commit := repository(t)
	f := fetcher(t)
	source := gitPlace(dir, commit, "", "")
	inCache := f.repositoryPath(source.Places[0])
	if err := (gitRepository{f, inCache}).run(t.Context(), "init", "--quiet", "--bare", "."); err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(f.Dir, "sha256", ".made.tmp1234567890")
	for _, left := range []string{filepath.Join(inCache, "shallow.lock"), made} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(left), 0o755), os.WriteFile(left, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Fetch(t.Context(), source, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, f, got.SHA256)
}

// A server that takes the connection and says no more is given up.
func TestGitServerStalls(t *testing.T) {
	done := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
	defer s.Close()
	defer close(done)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	f := fetcher(t)
	f.Pace.Stall = time.Second / packing
	_, err := f.Fetch(ctx, gitPlace(s.URL+"/x.git", strings.Repeat("1", 40), "", ""), nil)
	wantError(t, err, "no place of source", "git fetch")
}

func TestGitIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := fetcher(t).Fetch(t.Context(), gitPlace("https://example.org/x.git", strings.Repeat("1", 40), "", ""), nil)
	wantError(t, err, "no place of source", "git is not installed")
}
