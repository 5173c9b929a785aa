package supply

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/markdown"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Bundle is an archive of sources: all that the assets which are built here need, with
// their Go modules and crates. Unpacked into the folder of the source cache, it builds
// them offline.
type Bundle struct {
	set Set
	// licenses are those of the sources by path.
	licenses map[string]string
}

// ListFile is the file of a bundle that lists the others.
const ListFile = "SOURCES.md"

// NewBundle selects the sources of assets. If they are a release, it adds the sources
// that no asset uses but whose license is copyleft, such as libseccomp: imported programs
// contain them. A source without a license in the lock is an error.
func NewBundle(w *workspace.Workspace, names map[catalog.Arch][]string, release bool) (*Bundle, error) {
	b := &Bundle{set: Set{Fetcher: w.Sources, Store: w.Store, Report: w.Report}, licenses: map[string]string{}}
	for _, arch := range catalog.Arches() {
		if err := b.addBuilt(w, names[arch], arch); err != nil {
			return nil, err
		}
	}
	others, err := unused(w)
	if err != nil {
		return nil, err
	}
	for _, d := range others {
		if release && strings.Contains(w.Resolver.Versions.License(d.Path), "GPL") {
			b.add(d)
		}
	}
	slices.SortFunc(b.set.Sources, func(a, b workspace.Declared) int { return strings.Compare(a.Path, b.Path) })
	var problems []error
	for _, d := range b.set.Sources {
		if b.licenses[d.Path] = w.Resolver.Versions.License(d.Path); b.licenses[d.Path] == "" {
			problems = append(problems, fmt.Errorf("assets/sources.yaml: the source %s has no license: add license: with its SPDX expression to its entry", d.Path))
		}
	}
	return b, errors.Join(problems...)
}

// addBuilt adds the sources of the assets that are built, and of those they depend on.
func (b *Bundle) addBuilt(w *workspace.Workspace, names []string, arch catalog.Arch) error {
	declared, err := w.Declared(names, arch)
	if err != nil {
		return err
	}
	for _, d := range declared {
		built := slices.ContainsFunc(d.Assets, func(name string) bool {
			asset, err := w.Catalog.Find(name, arch)
			return err == nil && asset.Import == nil
		})
		if built && d.Unlocked == nil {
			b.add(d)
		}
	}
	return nil
}

func (b *Bundle) add(d workspace.Declared) {
	if !slices.ContainsFunc(b.set.Sources, func(other workspace.Declared) bool { return other.Path == d.Path }) {
		b.set.Sources = append(b.set.Sources, d)
	}
}

// WriteFile writes the bundle to a file, which appears when it is complete.
func (b *Bundle) WriteFile(ctx context.Context, path string) error {
	pending, err := files.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer pending.Discard()
	if err := b.Write(ctx, pending); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return pending.Commit()
}

// Write writes the bundle as a tar in gzip. Nothing is compressed, because the sources
// are.
func (b *Bundle) Write(ctx context.Context, to io.Writer) error {
	fetched, err := b.set.Fetch(ctx)
	if err != nil {
		return err
	}
	plain, err := gzip.NewWriterLevel(to, gzip.NoCompression)
	if err != nil {
		return err
	}
	tarball := tar.NewWriter(plain)
	list := b.list(fetched)
	if err := add(tarball, ListFile, int64(len(list)), strings.NewReader(list)); err != nil {
		return err
	}
	var written []string
	for i, f := range fetched {
		name := b.nameOf(i, f)
		if slices.Contains(written, name) {
			continue // Several assets have it.
		}
		written = append(written, name)
		if err := addFile(ctx, tarball, name, f); err != nil {
			return err
		}
	}
	return errors.Join(tarball.Close(), plain.Close())
}

// nameOf returns the path of a fetched source: that in the cache, or one below git for
// those that no cache can hold.
func (b *Bundle) nameOf(i int, f source.Fetched) string {
	for _, place := range b.set.Sources[i].Places {
		if place.Name == f.Place && place.Cacheable() {
			return source.CacheName(place)
		}
	}
	return path.Join("git", f.Name)
}

// list describes the sources.
func (b *Bundle) list(fetched []source.Fetched) string {
	var text strings.Builder
	text.WriteString("# Sources\n\nWhat is built here is made from these files. To build offline,\n" +
		"unpack this archive into `sources` of the folder that KATA_PIPELINES_CACHE names, and run\n" +
		"`pipelines build-asset NAME --offline` in the repository of the release. What is below `git` is\nnot found there: name a clone with `--source`.\n\n")
	markdown.Table(&text, "source", "license", "place", "size", "file")
	for i, f := range fetched {
		markdown.Row(&text, markdown.Code(f.Name), markdown.Plain(b.licenses[f.Name]), markdown.Plain(f.Place), progress.Size(f.Size), markdown.Code(b.nameOf(i, f)))
	}
	return text.String()
}

func addFile(ctx context.Context, tarball *tar.Writer, name string, f source.Fetched) error {
	file, err := files.Open(f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	return add(tarball, name, f.Size, files.Reader(ctx, file))
}

func add(tarball *tar.Writer, name string, size int64, content io.Reader) error {
	err := tarball.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)})
	if err == nil {
		_, err = io.Copy(tarball, content)
	}
	if err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	return nil
}
