// Package sbom writes what an artifact is made of as an SPDX 2.3 document: the members of
// its tarball, the sources with their hashes, places and licenses, the crates of a lock,
// the Go modules of its programs, and the packages of its builder and root filesystem.
//
// The one idea: it writes what the recipe, the record and the lock say; it does not scan
// for packages. So a document has no guess in it, and the same artifact has the same
// document: its time is that of the artifact's files, its namespace the artifact's digest.
// The document of a release tarball or an image is the union of those of its assets.
//
// CycloneDX is left out: no library converts SPDX to it without loss, and the registries
// and scanners of this field read SPDX.
package sbom

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"

	purl "github.com/package-url/packageurl-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// namespace is the beginning of the names of documents, which are no addresses.
const namespace = "https://github.com/kata-containers/kata-pipelines/spdx/"

const noAssertion = "NOASSERTION"

// Document is an SPDX document in the making.
type Document struct {
	spdx.Document
	known   map[common.ElementID]bool
	related map[spdx.Relationship]bool
	// described are the packages that the document is about.
	described []*spdx.Package
}

// newDocument returns the document of something with a name and a digest.
func newDocument(name, digest string) *Document {
	d := &Document{known: map[common.ElementID]bool{}, related: map[spdx.Relationship]bool{}}
	d.SPDXVersion, d.DataLicense, d.SPDXIdentifier = spdx.Version, spdx.DataLicense, "DOCUMENT"
	d.DocumentName, d.DocumentNamespace = name, namespace+name+"/"+digest
	d.CreationInfo = &spdx.CreationInfo{
		Created:  time.Unix(recipe.SourceDateEpoch, 0).UTC().Format(time.RFC3339),
		Creators: []common.Creator{{CreatorType: "Tool", Creator: "kata-pipelines"}},
	}
	return d
}

// describe adds a package that the document is about.
func (d *Document) describe(p *spdx.Package) common.ElementID {
	d.described = append(d.described, p)
	d.add(p)
	d.relate("DOCUMENT", common.TypeRelationshipDescribe, p.PackageSPDXIdentifier)
	return p.PackageSPDXIdentifier
}

// add adds a package, unless the document has it.
func (d *Document) add(p *spdx.Package) common.ElementID {
	if !d.known[p.PackageSPDXIdentifier] {
		d.known[p.PackageSPDXIdentifier] = true
		d.Packages = append(d.Packages, p)
	}
	return p.PackageSPDXIdentifier
}

func (d *Document) relate(from common.ElementID, relationship string, to common.ElementID) {
	r := spdx.Relationship{
		RefA: common.DocElementID{ElementRefID: from}, RefB: common.DocElementID{ElementRefID: to}, Relationship: relationship,
	}
	if !d.related[r] {
		d.related[r] = true
		d.Relationships = append(d.Relationships, &r)
	}
}

// JSON returns the document as it is published.
func (d *Document) JSON() ([]byte, error) {
	if err := spdxlib.ValidateDocument(&d.Document); err != nil {
		return nil, fmt.Errorf("writing the SPDX document %s: %w", d.DocumentName, err)
	}
	var out bytes.Buffer
	if err := spdxjson.Write(&d.Document, &out, spdxjson.Indent("  "), spdxjson.EscapeHTML(false)); err != nil {
		return nil, fmt.Errorf("writing the SPDX document %s: %w", d.DocumentName, err)
	}
	return out.Bytes(), nil
}

var notInIDs = regexp.MustCompile(`[^a-zA-Z0-9.]+`)

// elementID returns the identifier of an element: what it is, its name, and a part of the
// hash of what identifies it.
func elementID(kind, name string, identity ...string) common.ElementID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", identity))
	return common.ElementID(kind + "-" + notInIDs.ReplaceAllString(name, "-") + "-" + hex.EncodeToString(sum[:6]))
}

// assetID returns the identifier of the tarball of an asset: "" is the main one.
func assetID(asset, output, arch string) common.ElementID {
	return elementID("asset", asset, asset, output, arch)
}

// newPackage returns a package about which only its name and version are known.
func newPackage(id common.ElementID, name, version string) *spdx.Package {
	return &spdx.Package{
		PackageName: name, PackageSPDXIdentifier: id, PackageVersion: version, PackageDownloadLocation: noAssertion,
		IsFilesAnalyzedTagPresent: true, PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion,
	}
}

// located returns a package with a package URL, which identifies it.
func located(kind, namespace, name, version string, qualifiers ...string) *spdx.Package {
	pairs := map[string]string{}
	for i := 0; i+1 < len(qualifiers); i += 2 {
		pairs[qualifiers[i]] = qualifiers[i+1]
	}
	url := purl.NewPackageURL(kind, namespace, name, version, purl.QualifiersFromMap(pairs), "").ToString()
	p := newPackage(elementID(kind, name, url), name, version)
	if namespace != "" && kind == purl.TypeGolang {
		p.PackageName = namespace + "/" + name
	}
	p.PackageExternalReferences = []*spdx.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: url}}
	return p
}

func sha256Sum(hex string) []common.Checksum {
	return []common.Checksum{{Algorithm: common.SHA256, Value: hex}}
}
