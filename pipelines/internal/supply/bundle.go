package supply

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/license"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/markdown"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Bundle is an archive of sources: all that the assets which are built here need, with
// their Go modules and crates, and the texts of the licenses of all assets. Unpacked into
// the folder of the source cache, it builds them offline.
type Bundle struct {
	set Set
	// imported are the sources of the imported assets, which the bundle only lists.
	imported []workspace.Declared
	// licenses are those of the sources by path; texts are those of the licenses by name.
	licenses map[string]string
	texts    map[string][]byte
}

// ListFile is the file of a bundle that lists the others. LicensesFolder is its folder with
// the texts of the licenses, as in the REUSE specification.
const (
	ListFile       = "SOURCES.md"
	LicensesFolder = "LICENSES"
)

// NewBundle selects the sources of assets. If they are a release, it adds the sources
// that no asset uses but whose license is copyleft, such as libseccomp: imported programs
// contain them. A source without a license in the lock, and a license without a text, is
// an error.
func NewBundle(w *workspace.Workspace, names map[catalog.Arch][]string, release bool) (*Bundle, error) {
	b := &Bundle{
		set:      Set{Fetcher: w.Sources, Store: w.Store, Report: w.Report},
		licenses: map[string]string{}, texts: map[string][]byte{},
	}
	for _, arch := range catalog.Arches() {
		if err := b.addUsed(w, names[arch], arch); err != nil {
			return nil, err
		}
	}
	others, err := unused(w)
	if err != nil {
		return nil, err
	}
	for _, d := range others {
		if release && strings.Contains(w.Resolver.Versions.License(d.Path), "GPL") {
			add(&b.set.Sources, d)
		}
	}
	var problems []error
	for _, list := range [][]workspace.Declared{b.set.Sources, b.imported} {
		slices.SortFunc(list, func(a, b workspace.Declared) int { return strings.Compare(a.Path, b.Path) })
		for _, d := range list {
			if err := b.addLicense(w, d); err != nil {
				problems = append(problems, fmt.Errorf("%s: the source %s%s: %w", versions.LockFile, d.Path, usedBy(d), err))
			}
		}
	}
	return b, errors.Join(problems...)
}

func usedBy(d workspace.Declared) string {
	if len(d.Assets) == 0 {
		return ""
	}
	return " of " + strings.Join(d.Assets, ", ")
}

// addLicense adds the license of a source, and its texts.
func (b *Bundle) addLicense(w *workspace.Workspace, d workspace.Declared) error {
	expression := w.Resolver.Versions.License(d.Path)
	if expression == "" {
		return errors.New("no license: add license: with its SPDX expression to its entry")
	}
	b.licenses[d.Path] = expression
	ids, err := license.IDs(expression)
	for _, id := range ids {
		if b.texts[id], err = license.Text(w.Files(), id); err != nil {
			break
		}
	}
	return err
}

// addUsed adds the sources of assets, and of those they depend on. What has no pinned place
// is not shipped.
func (b *Bundle) addUsed(w *workspace.Workspace, names []string, arch catalog.Arch) error {
	declared, err := w.Declared(names, arch)
	if err != nil {
		return err
	}
	for _, d := range declared {
		built := slices.ContainsFunc(d.Assets, func(name string) bool {
			asset, err := w.Catalog.Find(name, arch)
			return err == nil && asset.Import == nil
		})
		switch {
		case d.Unlocked != nil:
		case built:
			add(&b.set.Sources, d)
		case slices.ContainsFunc(d.Places, versions.Place.Pinned):
			add(&b.imported, d)
		}
	}
	return nil
}

func add(list *[]workspace.Declared, d workspace.Declared) {
	if !slices.ContainsFunc(*list, func(other workspace.Declared) bool { return other.Path == d.Path }) {
		*list = append(*list, d)
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
	if err := pack(tarball, ListFile, int64(len(list)), strings.NewReader(list)); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(b.texts)) {
		if err := pack(tarball, path.Join(LicensesFolder, id+".txt"), int64(len(b.texts[id])), bytes.NewReader(b.texts[id])); err != nil {
			return err
		}
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
		"`pipelines build-asset NAME --offline` in the repository of the release. What is below `git` is\nnot found there: name a clone with `--source`. `" + LicensesFolder + "` has the texts of the licenses.\n\n")
	markdown.Table(&text, "source", "license", "place", "size", "file")
	for i, f := range fetched {
		markdown.Row(&text, markdown.Code(f.Name), markdown.Plain(b.licenses[f.Name]), markdown.Plain(f.Place), progress.Size(f.Size), markdown.Code(b.nameOf(i, f)))
	}
	if len(b.imported) > 0 {
		text.WriteString("\nPrograms of these files are shipped as others publish them:\n\n")
		markdown.Table(&text, "source", "license", "place", "file")
		for _, d := range b.imported {
			for _, place := range d.Places {
				markdown.Row(&text, markdown.Code(d.Path), markdown.Plain(b.licenses[d.Path]), markdown.Plain(place.Name), markdown.Plain(place.Holds()))
			}
		}
	}
	return text.String()
}

func addFile(ctx context.Context, tarball *tar.Writer, name string, f source.Fetched) error {
	file, err := files.Open(f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	return pack(tarball, name, f.Size, files.Reader(ctx, file))
}

func pack(tarball *tar.Writer, name string, size int64, content io.Reader) error {
	err := tarball.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)})
	if err == nil {
		_, err = io.Copy(tarball, content)
	}
	if err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	return nil
}
