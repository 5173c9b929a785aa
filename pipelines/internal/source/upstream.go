package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/cargo"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

// This file is about what upstream has that is not declared: versions, and hashes of the
// files of a new version.

// Learned is the file of a place, whose hash may not have been declared.
type Learned struct {
	SHA256 string
	Size   int64
	// Path is the file in the cache.
	Path string
	// Sum is that of a Go module, as in go.sum.
	Sum string
	// Checked names what its kind of place checked the file against, "" for nothing.
	Checked string
}

// Learn fetches the file of a place, which may declare no hash, into the cache. A Go module
// is checked against the checksum database, unless the go command is configured not to.
func (f *Fetcher) Learn(ctx context.Context, name string, place versions.Place, stage *progress.Stage) (l Learned, err error) {
	t := &task{Fetcher: f, source: versions.Source{Name: name, Places: []versions.Place{place}}, stage: stage, learning: true}
	if m := place.Go; m != nil {
		l.Sum, l.Checked, err = t.databaseSum(ctx, *m)
		return l, err
	}
	var fetched Fetched
	switch {
	case place.SHA256 != "":
		if fetched, err = t.cached(ctx, place); isUnavailable(err) {
			fetched, err = t.from(ctx, place)
		}
	case place.Git != nil:
		fetched, err = t.git(ctx, place, place.Git.URL)
	case place.Cargo != nil:
		fetched, err = t.crates(ctx, place)
		l.Checked = "the index of the crate registry, and Cargo.lock for its crates"
	case place.GoProxy != nil:
		if l.Sum, l.Checked, err = t.databaseSum(ctx, *place.GoProxy); err == nil {
			fetched, err = t.sameModule(ctx, place, l.Sum)
		}
	default:
		fetched, err = t.unhashed(ctx, place)
	}
	l.SHA256, l.Size, l.Path = fetched.SHA256, fetched.Size, fetched.Path
	return l, err
}

// sameModule is goProxy for a module of a known sum: Go's module cache may have another.
func (t *task) sameModule(ctx context.Context, place versions.Place, sum string) (Fetched, error) {
	fetched, err := t.goProxy(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	zip, err := t.downloadModule(ctx, place.GoProxy.String(), "GONOSUMDB="+place.GoProxy.Module)
	if err != nil {
		return Fetched{}, err
	}
	if got, err := zipSum(zip); err != nil || got != sum {
		return Fetched{}, errors.Join(t.wrong("the Go module "+place.GoProxy.String()+" of the module cache", "the sum "+got, sum), err)
	}
	return fetched, nil
}

// unhashed downloads a file of unknown content. It does not resume: nothing would show
// whether the pieces belong together.
func (t *task) unhashed(ctx context.Context, place versions.Place) (Fetched, error) {
	client := t.client()
	defer client.CloseIdleConnections()
	return t.made(ctx, place, web.Shown(place.URL), func(file *os.File) error {
		pace := t.pace()
		pace.Tries = 1
		d := web.Download{Client: client, URL: place.URL, Size: -1, Stage: t.stage, What: t.source.Name, Notes: t.stage, Pace: pace, Impatient: true}
		err := d.To(ctx, file)
		var got *web.Mismatch
		if errors.As(err, &got) && got.SHA256 != "" {
			return nil // It was downloaded, and no hash was declared.
		}
		switch {
		case got != nil:
			return fmt.Errorf("%s: more than %d bytes, the limit for a file of unknown size", web.Shown(place.URL), web.MaxUnsized)
		case err != nil:
			return fmt.Errorf("%s: %w", web.Shown(place.URL), err)
		}
		return nil
	})
}

// databaseSum returns the sum of a Go module, downloaded by the go command without its
// cache, so that it asks the checksum database.
func (t *task) databaseSum(ctx context.Context, m versions.GoModule) (sum, checked string, err error) {
	scratch, remove, err := t.scratch()
	if err != nil {
		return "", "", err
	}
	defer remove()
	asking := &task{Fetcher: &Fetcher{Dir: t.Dir, ModCache: filepath.Join(scratch, "modules")}}
	zip, err := asking.downloadModule(ctx, m.Module+"@"+m.Version)
	if err != nil {
		return "", "", fmt.Errorf("%w (where the checksum database cannot be reached, name the module in $GONOSUMDB: its sum is then not checked)", err)
	}
	if sum, err = zipSum(zip); err != nil {
		return "", "", fmt.Errorf("summing the Go module %s: %w", m.Module, err)
	}
	cmd := command.New(ctx, "go", "env", "GOSUMDB", "GONOSUMDB")
	cmd.Dir, cmd.Env = t.Dir, append(command.GoEnviron(), "GOWORK=off")
	out, err := cmd.Output()
	database, without, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), "\n")
	if err == nil && database != "off" && !module.MatchPrefixPatterns(without, m.Module) {
		name, _, _ := strings.Cut(database, "+")
		checked = "the checksum database " + name
	}
	return sum, checked, err
}

// Tags returns the tags of a repository, with their commits.
func (f *Fetcher) Tags(ctx context.Context, url string) (map[string]string, error) {
	refs, err := f.refs(ctx, url, "refs/tags/*")
	tags := map[string]string{}
	for ref, commit := range refs {
		tags[strings.TrimPrefix(ref, "refs/tags/")] = commit
	}
	return tags, err
}

// Modules returns the versions of a Go module that the module proxy lists.
func (f *Fetcher) Modules(ctx context.Context, path string) ([]string, error) {
	answers, err := (&task{Fetcher: f}).askGo(ctx, nil, "list", "-m", "-versions", "-json", path)
	if err != nil || len(answers) != 1 {
		return nil, errors.Join(err, ctx.Err())
	}
	return answers[0].Versions, nil
}

// Crates returns the versions of a crate that its registry has, without those that were
// yanked.
func (f *Fetcher) Crates(ctx context.Context, name string) (list []string, err error) {
	d := newCrateDownload(&task{Fetcher: f})
	defer d.client.CloseIdleConnections()
	registry, err := d.registry(ctx, cargo.CratesIO)
	if err != nil {
		return nil, err
	}
	published, err := registry.Versions(ctx, name)
	for _, v := range published {
		if !v.Yanked {
			list = append(list, v.Version)
		}
	}
	return list, err
}

// maxText is the longest list of files, or of their hashes, in bytes.
const maxText = 16 << 20

// Text returns a text: the list of a folder, or a file of hashes. The error is a
// *web.Unavailable, without a response if the server does not answer.
func (f *Fetcher) Text(ctx context.Context, url string) (string, error) {
	client := f.client()
	defer client.CloseIdleConnections()
	text, err := web.Content(ctx, client, url, maxText)
	return string(text), err
}

// Submodules returns the commits of the submodules of a commit, by their paths.
func (f *Fetcher) Submodules(ctx context.Context, url, commit string) (map[string]string, error) {
	scratch, remove, err := f.scratch()
	if err != nil {
		return nil, err
	}
	defer remove()
	g := gitRepository{f, scratch}
	if err := errors.Join(g.prepare(ctx), g.fetch(ctx, url, commit, "--filter=blob:none")); err != nil {
		return nil, err
	}
	out, err := command.Output(ctx, f.gitCommand(ctx, "--git-dir="+scratch, "ls-tree", "-r", commit))
	links := map[string]string{}
	for line := range strings.Lines(out) {
		about, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if fields := strings.Fields(about); len(fields) == 3 && fields[1] == "commit" { // <mode> <type> <id>
			links[path] = fields[2]
		}
	}
	return links, err
}

// scratch makes a folder that the caller removes: what is in it is never from a cache.
func (f *Fetcher) scratch() (dir string, remove func(), err error) {
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("making the source cache: %w", err)
	}
	if dir, err = os.MkdirTemp(f.Dir, "scratch-"); err != nil {
		return "", nil, fmt.Errorf("making a scratch folder: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// IsPage reports whether a file is a page of HTML, with which some servers answer for a
// file that they lack.
func IsPage(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false // Whoever uses it reports that.
	}
	defer file.Close()
	head := make([]byte, 512)
	n, _ := io.ReadFull(file, head)
	return strings.HasPrefix(http.DetectContentType(head[:n]), "text/html")
}
