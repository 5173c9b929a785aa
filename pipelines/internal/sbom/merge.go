package sbom

import (
	"github.com/spdx/tools-golang/spdx/v2/common"
)

// Merged is a tarball or an image that assets are in.
type Merged struct {
	// Name is that of the document and the package, and File the name of the file, if it
	// is one.
	Name, Version, File string
	// Digest is that of the file or of the image's manifest, "sha256:<hex>".
	Digest string
	// Purpose is ARCHIVE or CONTAINER.
	Purpose string
}

// Merge returns the document of something that contains assets: all that their documents
// have, each element once. Inside are the documents of further assets that they were made
// of, such as the agent of a root filesystem.
func Merge(of Merged, assets, inside []*Document) *Document {
	d := newDocument(of.Name, of.Digest)
	p := newPackage(elementID("merged", of.Name, of.Name), of.Name, of.Version)
	p.PackageFileName, p.PrimaryPackagePurpose = of.File, of.Purpose
	p.PackageChecksums = sha256Sum(of.Digest[len("sha256:"):])
	p.PackageSupplier = &common.Supplier{SupplierType: "Organization", Supplier: "Kata Containers"}
	root := d.describe(p)
	// An asset that another was made of is only named there: its own document has more.
	all := append(append([]*Document{}, assets...), inside...)
	for i, part := range all {
		for _, p := range part.described {
			d.add(p)
			if i < len(assets) {
				d.relate(root, common.TypeRelationshipContains, p.PackageSPDXIdentifier)
			}
		}
	}
	for _, part := range all {
		d.union(part)
	}
	return d
}

// union adds everything of another document, except what that is about.
func (d *Document) union(part *Document) {
	for _, p := range part.Packages {
		d.add(p)
	}
	for _, f := range part.Files {
		if !d.known[f.FileSPDXIdentifier] {
			d.known[f.FileSPDXIdentifier] = true
			d.Files = append(d.Files, f)
		}
	}
	for _, l := range part.OtherLicenses {
		if id := common.ElementID(l.LicenseIdentifier); !d.known[id] {
			d.known[id] = true
			d.OtherLicenses = append(d.OtherLicenses, l)
		}
	}
	for _, r := range part.Relationships {
		if r.Relationship != common.TypeRelationshipDescribe {
			d.relate(r.RefA.ElementRefID, r.Relationship, r.RefB.ElementRefID)
		}
	}
}
