package release

import (
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Job says what a release is made of and where it goes. It only holds values: Plan
// looks at GitHub and the registries and decides what to do.
type Job struct {
	Options
	// Version is the release, "3.28.0", and the tag on GitHub. Commit, in hex, is the
	// commit that it is built from, "" if there is none.
	Version, Commit string
	// Arches are the architectures of the release.
	Arches []catalog.Arch
	// Catalog has the assets and the release sets, Versions the pins.
	Catalog  *catalog.Catalog
	Versions *versions.File
	// Cache is the folder of the caches.
	Cache string
	// Components are the assets of all release sets, and Store has their artifacts.
	Components []Component
	Store      *store.Tiered
	// Images describe the image of each architecture, without the components, which are
	// those of workspace.PayloadSet. Labels describe the index.
	Images []payload.Options
	Labels payload.Labels
	// Limit is the size in bytes that a tarball must stay below, 0 for GitHub's.
	Limit int64
	// Problems are the reasons not to release that New found.
	Problems []error
	// Report shows the progress.
	Report *progress.Reporter
}

// Names returns the assets of all release sets of a catalog on an architecture, each
// once.
func Names(assets *catalog.Catalog, arch catalog.Arch) []string {
	var names []string
	for _, set := range assets.Sets {
		for _, name := range set.Components[arch] {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// on returns the components of an architecture.
func (j *Job) on(arch catalog.Arch) []Component {
	return slices.DeleteFunc(slices.Clone(j.Components), func(c Component) bool { return c.Arch != arch })
}

// of returns the components of a set on an architecture, in its order.
func (j *Job) of(set catalog.Set, arch catalog.Arch) []Component {
	var components []Component
	for _, name := range set.Components[arch] {
		for _, c := range j.Components {
			if c.Asset == name && c.Arch == arch {
				components = append(components, c)
			}
		}
	}
	return components
}
