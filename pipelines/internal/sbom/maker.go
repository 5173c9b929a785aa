package sbom

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // SPDX demands it next to a SHA-256.
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	purl "github.com/package-url/packageurl-go"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/license"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Maker makes documents of the artifacts of a store. It is that store, with documents for
// what it publishes.
type Maker struct {
	*store.Tiered
	// Tree has further texts of licenses, and Versions the places and licenses of sources.
	Tree     fs.FS
	Versions *versions.File
	// Sources has the archives with the locks of crates.
	Sources *source.Fetcher
}

// Publish pushes an artifact, as store.Tiered does, and the document of one that the local
// store has.
func (m *Maker) Publish(ctx context.Context, artifact store.Artifact, tags []string) error {
	if err := m.attach(ctx, artifact.Ref); err != nil && !store.IsNotFound(err) {
		return err
	}
	return m.Tiered.Publish(ctx, artifact, tags)
}

// attach makes the document of an artifact of the local store, unless it has one.
func (m *Maker) attach(ctx context.Context, ref store.Ref) error {
	artifact, err := m.Local.Get(ctx, ref)
	if err != nil {
		return err
	}
	there, err := (&store.Tiered{Local: m.Local}).Attached(ctx, artifact, store.SBOM)
	if err != nil || len(there) > 0 {
		return err
	}
	d, err := m.Asset(ctx, artifact)
	if err != nil {
		return err
	}
	data, err := d.JSON()
	if err != nil {
		return err
	}
	return m.Attach(ctx, artifact, store.SBOM, data)
}

// member is a file of a tarball.
type member struct {
	archive.Member
	sha1 string
	// program is what a Go program says about itself, nil for any other file.
	program *buildinfo.BuildInfo
}

// maxProgram is the size up to which an executable file is read into memory, to see
// whether it is a Go program: kernels are larger.
const maxProgram = 128 << 20

// readMembers reads the files of a tarball, sorted by name.
func readMembers(ctx context.Context, tarball string) (members []member, err error) {
	var mu sync.Mutex
	_, err = archive.Visit(ctx, tarball, func(m archive.Member, content io.Reader) error {
		hash, of := sha1.New(), member{Member: m} //nolint:gosec // As above.
		var err error
		if m.Mode&0o111 != 0 && m.Size <= maxProgram {
			of.program, err = program(io.TeeReader(content, hash))
		}
		if err == nil {
			_, err = io.Copy(hash, content)
		}
		of.sha1 = hex.EncodeToString(hash.Sum(nil))
		mu.Lock()
		defer mu.Unlock()
		members = append(members, of)
		return err
	})
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.Name, b.Name) })
	return members, err
}

// program returns what a Go program says about itself, nil for any other file, of which it
// may read only the beginning.
func program(content io.Reader) (*buildinfo.BuildInfo, error) {
	magic := make([]byte, 4)
	if _, err := io.ReadFull(content, magic); err != nil || string(magic) != "\x7fELF" {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return nil, err
	}
	rest, err := io.ReadAll(content)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(append(magic, rest...)))
	if err != nil {
		return nil, nil //nolint:nilerr // It is another program.
	}
	return info, nil
}

// placed returns the package that a place holds, which may have a version of its own.
func placed(place versions.Place, name, version string) *spdx.Package {
	p := newPackage("", name, version)
	switch {
	case place.URL != "":
		p.PackageDownloadLocation = place.URL
	case place.Git != nil:
		p.PackageDownloadLocation = strings.TrimSuffix("git+"+place.Git.URL+"@"+place.Git.Commit+"#"+place.Git.Path, "#")
		p.PackageVersion = place.Git.Commit
	case place.Debian != nil:
		p = located(purl.TypeDebian, "debian", place.Debian.Package, place.Debian.Version, "arch", "source", "distro", "debian-"+place.Debian.Suite)
		p.PackageFileName = place.Debian.File
	case place.OCI != nil:
		repository := place.OCI.Repository()
		at := strings.LastIndexByte(repository, '/') + 1
		p = located(purl.TypeOCI, "", repository[at:], place.OCI.Digest(), "repository_url", repository)
	case place.Go != nil:
		p = goModule(place.Go.Module, place.Go.Version)
	case place.GoProxy != nil && place.GoProxy.Lock == "":
		p = goModule(place.GoProxy.Module, place.GoProxy.Version)
	case place.Cargo != nil && place.Cargo.Lock == "":
		p = located(purl.TypeCargo, "", place.Cargo.Crate, place.Cargo.Version)
	}
	p.PackageSourceInfo = place.Holds()
	return p
}

func goModule(path, version string) *spdx.Package {
	at := strings.LastIndexByte(path, '/') + 1
	return located(purl.TypeGolang, strings.TrimSuffix(path[:at], "/"), path[at:], version)
}

// otherLicenses adds the texts of the licenses that SPDX does not have.
func (w *writing) otherLicenses(expression string) error {
	ids, err := license.IDs(expression)
	if expression == noAssertion {
		return nil
	}
	for _, id := range ids {
		known := slices.ContainsFunc(w.OtherLicenses, func(l *spdx.OtherLicense) bool { return l.LicenseIdentifier == id })
		if known || !strings.HasPrefix(id, "LicenseRef-") {
			continue
		}
		text, err := license.Text(w.Tree, id)
		if err != nil {
			return err
		}
		w.OtherLicenses = append(w.OtherLicenses, &spdx.OtherLicense{LicenseIdentifier: id, ExtractedText: string(text), LicenseName: noAssertion})
	}
	return err
}
