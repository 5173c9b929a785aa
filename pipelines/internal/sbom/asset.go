package sbom

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	purl "github.com/package-url/packageurl-go"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/spdx/tools-golang/utils"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// record is the part of a build record that a document has.
type record struct {
	Packages []string `json:"packages"`
	Machine  string   `json:"machine"`
	Root     struct {
		Packages []string `json:"packages"`
	} `json:"root"`
	Sources []struct {
		Name   string `json:"name"`
		Place  string `json:"place"`
		SHA256 string `json:"sha256"`
	} `json:"sources"`
}

// writing is the document of an artifact in the making.
type writing struct {
	*Maker
	*Document
	recipe recipe.Recipe
	record record
	root   common.ElementID
}

// Asset returns the document of an artifact of the caches.
func (m *Maker) Asset(ctx context.Context, artifact store.Artifact) (*Document, error) {
	w := &writing{Maker: m, Document: newDocument(artifact.Asset+"-"+artifact.Arch, artifact.Manifest.Digest().String())}
	if err := w.read(ctx, artifact); err != nil {
		return nil, fmt.Errorf("listing the contents of %q: %w", artifact.Asset, err)
	}
	if err := w.tarballs(ctx, artifact); err != nil {
		return nil, fmt.Errorf("listing the contents of %q: %w", artifact.Asset, err)
	}
	if err := w.sources(ctx); err != nil {
		return nil, fmt.Errorf("listing the sources of %q: %w", artifact.Asset, err)
	}
	for _, d := range w.recipe.Dependencies {
		p := newPackage(assetID(d.Asset, "", artifact.Arch), d.Asset, "")
		p.PackageChecksums = sha256Sum(strings.TrimPrefix(d.Digest, "sha256:"))
		w.relate(w.root, common.TypeRelationshipGeneratedFrom, w.add(p))
	}
	w.packages()
	return w.Document, nil
}

func (w *writing) read(ctx context.Context, artifact store.Artifact) error {
	canonical, recorded, err := w.Documents(ctx, artifact)
	if err == nil {
		w.recipe, err = recipe.Parse(canonical)
	}
	if err == nil {
		err = json.Unmarshal(recorded, &w.record)
	}
	return err
}

// tarballs adds the tarballs of an artifact, with their files.
func (w *writing) tarballs(ctx context.Context, artifact store.Artifact) error {
	main := store.Output{Digest: artifact.Digest, Size: artifact.Size}
	for _, output := range append([]store.Output{main}, artifact.Outputs...) {
		file, err := w.Blob(ctx, artifact, output.Name)
		if err != nil {
			return err
		}
		members, err := readMembers(ctx, file)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(artifact.Asset+"-"+output.Name, "-")
		p := newPackage(assetID(artifact.Asset, output.Name, artifact.Arch), name, w.version())
		p.PackageFileName = "kata-static-" + name + ".tar.zst"
		p.PackageChecksums = sha256Sum(strings.TrimPrefix(output.Digest, "sha256:"))
		p.PackageSupplier = &common.Supplier{SupplierType: "Organization", Supplier: "Kata Containers"}
		p.PackageLicenseDeclared, p.PrimaryPackagePurpose = w.license(), "ARCHIVE"
		id := w.describe(p)
		if output.Name == "" {
			w.root = id
		}
		if err := w.files(p, members); err != nil {
			return err
		}
	}
	return nil
}

// version returns the versions and tags among the pins: "v6.18.15".
func (w *writing) version() string {
	var found []string
	for _, pin := range w.recipe.Pins {
		if kind := path.Ext(pin.Path); (kind == ".version" || kind == ".tag") && !slices.Contains(found, pin.Value) {
			found = append(found, pin.Value)
		}
	}
	return strings.Join(found, ", ")
}

// license returns the licenses of all sources.
func (w *writing) license() string {
	var all []string
	for _, s := range w.recipe.Sources {
		one := w.Versions.License(s.Path)
		if one == "" {
			return noAssertion
		}
		if all = append(all, "("+one+")"); len(w.recipe.Sources) == 1 {
			return one
		}
	}
	slices.Sort(all)
	return cmp.Or(strings.Join(slices.Compact(all), " AND "), noAssertion)
}

// files adds the files of a tarball, and the Go modules of its programs.
func (w *writing) files(of *spdx.Package, members []member) error {
	var files []*spdx.File
	for _, m := range members {
		f := &spdx.File{
			FileName: m.Name, FileSPDXIdentifier: elementID("file", path.Base(m.Name), string(of.PackageSPDXIdentifier), m.Name),
			Checksums:        []common.Checksum{{Algorithm: common.SHA1, Value: m.sha1}, {Algorithm: common.SHA256, Value: m.SHA256}},
			LicenseConcluded: noAssertion, LicenseInfoInFiles: []string{noAssertion}, FileCopyrightText: noAssertion,
		}
		files = append(files, f)
		w.relate(of.PackageSPDXIdentifier, common.TypeRelationshipContains, f.FileSPDXIdentifier)
		w.modules(f.FileSPDXIdentifier, m.program)
	}
	w.Files = append(w.Files, files...)
	code, err := utils.GetVerificationCode(files, "")
	of.FilesAnalyzed, of.PackageVerificationCode = true, &code
	of.PackageLicenseInfoFromFiles = []string{noAssertion}
	return err
}

// modules adds the Go modules of a program, which names them, and the version of Go.
func (w *writing) modules(file common.ElementID, program *buildinfo.BuildInfo) {
	if program == nil {
		return
	}
	link := func(module, version string) {
		w.relate(file, common.TypeRelationshipStaticLink, w.add(goModule(module, version)))
	}
	link("stdlib", strings.TrimPrefix(program.GoVersion, "go"))
	for _, module := range program.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		link(module.Path, module.Version)
	}
}

// sources adds the sources at the places that were used, and their crates.
func (w *writing) sources(ctx context.Context) error {
	for _, used := range w.record.Sources {
		at := slices.IndexFunc(w.recipe.Sources, func(s recipe.Source) bool { return s.Name == used.Name || path.Ext(s.Path) == "."+used.Name })
		if at < 0 {
			return fmt.Errorf("the record has a source %q that the recipe lacks", used.Name)
		}
		declared := w.recipe.Sources[at].Path
		version, _ := w.Versions.Pin(w.Versions.VersionPin(declared)) // Sources without one are named by their hash.
		of, _ := w.Versions.Source(declared)                          // A local file is at no place.
		var place versions.Place
		if i := slices.IndexFunc(of.Places, func(p versions.Place) bool { return p.Name == used.Place }); i >= 0 {
			place = of.Places[i]
		}
		p := placed(place, used.Name, version)
		p.PackageSPDXIdentifier = elementID("source", used.Name, declared, used.Place, used.SHA256)
		p.PackageName, p.PrimaryPackagePurpose = used.Name, "SOURCE"
		if used.SHA256 != "" {
			p.PackageChecksums = sha256Sum(used.SHA256)
		}
		if license := w.Versions.License(declared); license != "" {
			p.PackageLicenseDeclared = license
		}
		if err := w.otherLicenses(p.PackageLicenseDeclared); err != nil {
			return err
		}
		id := w.add(p)
		w.relate(w.root, common.TypeRelationshipGeneratedFrom, id)
		if err := w.crates(ctx, id, of.Name, place); err != nil {
			return err
		}
	}
	return nil
}

// crates adds the crates that the Cargo.lock of a place names.
func (w *writing) crates(ctx context.Context, of common.ElementID, name string, place versions.Place) error {
	if place.Cargo == nil {
		return nil
	}
	crates, err := w.Sources.Locked(ctx, name, place)
	for _, crate := range crates {
		p := located(purl.TypeCargo, "", crate.Name, crate.Version)
		p.PackageChecksums = sha256Sum(crate.SHA256)
		w.relate(of, common.TypeRelationshipContains, w.add(p))
	}
	return err
}

// packages adds the packages of the builder and of the root filesystem.
func (w *writing) packages() {
	builder := w.recipe.Builder
	for _, text := range w.record.Packages {
		p := packaged("apt", builder.Distribution, builder.Suite, w.record.Machine, text)
		w.relate(w.add(p), common.TypeRelationshipBuildDependencyOf, w.root)
	}
	if w.recipe.Root == nil {
		return
	}
	root, hashes := *w.recipe.Root, map[string]string{}
	for _, locked := range root.Locked {
		hashes[locked.Name+"="+locked.Version] = locked.Hash
	}
	for _, text := range w.record.Root.Packages {
		p := packaged(root.Manager, root.Distribution, root.Suite, w.recipe.Arch, text)
		if hash, ok := strings.CutPrefix(hashes[text], "sha256:"); ok {
			p.PackageChecksums = sha256Sum(hash)
		}
		w.relate(w.root, common.TypeRelationshipContains, w.add(p))
	}
}

// packaged returns a package of a distribution, "name=version".
func packaged(manager, distribution, suite, arch, text string) *spdx.Package {
	name, version, _ := strings.Cut(text, "=")
	kind := map[string]string{"apt": purl.TypeDebian, "apk": purl.TypeApk, "tdnf": purl.TypeRPM}[manager]
	if kind == purl.TypeDebian {
		if known, err := catalog.ParseArch(arch); err == nil {
			arch = known.Debian()
		}
	}
	return located(kind, distribution, name, version, "arch", arch, "distro", distribution+"-"+suite)
}
