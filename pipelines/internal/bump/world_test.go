package bump

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/debian"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// world is a checkout, and the places of its pins: a server with files, a git repository
// and an index of Debian.
type world struct {
	*Bumper
	// url is the address of the server; below /files/ it serves files, and below /git/
	// the repositories in git.
	url   string
	files map[string]string
	git   string
	// packages are the versions of Debian packages, by "<suite> <package>", ascending.
	packages map[string][]string
}

func hash(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }

// newWorld writes the pins and their lock, with the address of the server for URL.
func newWorld(t *testing.T, pins, lock string) *world {
	t.Helper()
	w := &world{files: map[string]string{}, git: t.TempDir(), packages: map[string][]string{}}
	backend, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/git/", &cgi.Handler{
		Path: backend, Args: []string{"http-backend"}, Root: "/git", Dir: w.git,
		Env: []string{"GIT_PROJECT_ROOT=" + w.git, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=uploadpack.allowAnySHA1InWant", "GIT_CONFIG_VALUE_0=true",
			"GIT_CONFIG_KEY_1=uploadpack.allowFilter", "GIT_CONFIG_VALUE_1=true"},
	})
	mux.HandleFunc("/files/", w.serve)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	w.url = server.URL
	root := t.TempDir()
	w.Bumper = &Bumper{
		Path: filepath.Join(root, "versions.yaml"), Lock: filepath.Join(root, "sources.yaml"),
		Sources: &source.Fetcher{Dir: t.TempDir(), Debian: w, Pace: web.Pace{Tries: 1, First: time.Millisecond, Stall: 5 * time.Second}},
	}
	write(t, w.Path, pins)
	write(t, w.Lock, strings.ReplaceAll(lock, "URL", w.url))
	return w
}

// serve serves a file, or the list of a folder as servers write it.
func (w *world) serve(out http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/files/")
	content, ok := w.files[path]
	if strings.HasSuffix(r.URL.Path, "/") {
		ok = true
		for name := range w.files {
			if file, below := strings.CutPrefix(name, path); below {
				content += fmt.Sprintf("<a href=\"./%s\">%s</a> 2026-01-01 12:00 1.2M\n", file, file)
			}
		}
	}
	if !ok {
		out.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = out.Write([]byte(content))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// read returns the pins and the lock, with URL for the address of the server.
func (w *world) read(t *testing.T) (pins, lock string) {
	t.Helper()
	one, err := os.ReadFile(w.Path)
	two, err2 := os.ReadFile(w.Lock)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return string(one), strings.ReplaceAll(string(two), w.url, "URL")
}

// Debian's packages have one archive of upstream, on the server, and one of changes.
func (w *world) Files(_ context.Context, name, version, suite string) ([]debian.Archive, error) {
	if !slices.Contains(w.packages[suite+" "+name], version) {
		return nil, fmt.Errorf("%s has no %s %s", suite, name, version)
	}
	inFiles, _ := upstreamOf(version)
	whole := version[strings.IndexByte(version, ':')+1:]
	var list []debian.Archive
	for _, file := range []string{name + "_" + inFiles + ".orig.tar.xz", name + "_" + whole + ".debian.tar.xz", name + "_" + whole + ".dsc"} {
		content := "debian " + file
		list = append(list, debian.Archive{Name: file, URL: w.url + "/files/pool/" + file, SHA256: hash(content), Size: int64(len(content))})
	}
	return list, nil
}

func (w *world) Source(ctx context.Context, name, version, suite, file string) (debian.Archive, error) {
	list, err := w.Files(ctx, name, version, suite)
	i := slices.IndexFunc(list, func(a debian.Archive) bool { return a.Name == file })
	if err != nil || i < 0 {
		return debian.Archive{}, errors.Join(err, errors.New("no file"))
	}
	return list[i], nil
}

func (w *world) Versions(_ context.Context, name, suite string) ([]string, error) {
	return slices.Clone(w.packages[suite+" "+name]), nil
}

func (w *world) Refresh(context.Context, string) error { return nil }

// pack puts the files of a Debian package on the server.
func (w *world) pack(t *testing.T, name, version, suite string) {
	t.Helper()
	w.packages[suite+" "+name] = append(w.packages[suite+" "+name], version)
	files, err := w.Files(t.Context(), name, version, suite)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		w.files["pool/"+file.Name] = "debian " + file.Name
	}
}

// tag commits a file to a repository, with a tag, and returns the commit. The submodules
// are commits by path.
func (w *world) tag(t *testing.T, repository, tag string, submodules map[string]string) string {
	t.Helper()
	dir := filepath.Join(w.git, repository)
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org",
			"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if _, err := os.Stat(dir); err != nil {
		write(t, filepath.Join(dir, "VERSION"), "")
		run("init", "--quiet")
	}
	write(t, filepath.Join(dir, "VERSION"), tag)
	run("add", "VERSION")
	for path, commit := range submodules {
		run("update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
	}
	run("commit", "--quiet", "--message="+tag)
	run("tag", "--annotate", "--force", "--message="+tag, tag)
	return run("rev-parse", "HEAD")
}

// module puts a Go module into the proxy that the go command is pointed at.
func module(t *testing.T, proxy, name string, versions ...string) {
	t.Helper()
	folder := filepath.Join(proxy, name, "@v")
	write(t, filepath.Join(folder, "list"), strings.Join(versions, "\n")+"\n")
	for _, version := range versions {
		mod := "module " + name + "\n\ngo 1.21\n"
		write(t, filepath.Join(folder, version+".mod"), mod)
		write(t, filepath.Join(folder, version+".info"), fmt.Sprintf(`{"Version":%q,"Time":"2024-01-01T00:00:00Z"}`, version))
		file, err := os.Create(filepath.Join(folder, version+".zip"))
		if err != nil {
			t.Fatal(err)
		}
		archive := zip.NewWriter(file)
		for _, member := range [][2]string{{"go.mod", mod}, {"go.sum", ""}, {"m.go", "package m // " + version + "\n"}} {
			out, err := archive.Create(name + "@" + version + "/" + member[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Write([]byte(member[1])); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(archive.Close(), file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("GOPROXY", "file://"+proxy)
	t.Setenv("GOSUMDB", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	t.Setenv("GOFLAGS", "-modcacherw")
}
