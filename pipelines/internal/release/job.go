package release

import (
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Job is what a release is made of and where it goes. It holds values only: Plan looks
// at all places and decides what is to be done.
type Job struct {
	// Version is the release, "3.28.0", and the tag on GitHub. Commit, in hex, is
	// what it is built from, "" if nothing that is committed.
	Version, Commit string
	// Arches are those of the release.
	Arches []catalog.Arch
	// Catalog has the assets and the release sets, Pins is the content of
	// versions.yaml, and Versions the parsed form.
	Catalog  *catalog.Catalog
	Pins     []byte
	Versions *versions.File
	// Output is the folder for the files of the release, Cache that of the caches.
	Output, Cache string
	// Components are the assets of all release sets, and Store has their artifacts.
	Components []Component
	Store      *store.Tiered
	// PushTo is the name of the registry of the store, if artifacts that it lacks are
	// pushed to it and tagged there as released; "" for none.
	PushTo string
	// Images describe an image for each architecture, without their components, which
	// are those of workspace.PayloadSet. Repositories are where they are pushed to,
	// with the index of all architectures, which Labels describe.
	Images       []payload.Options
	Repositories []*payload.Repository
	Labels       payload.Labels
	// GitHub is where the files are released; nil for nowhere.
	GitHub *github.Client
	// Limit is the size in bytes that a tarball must stay below, 0 for GitHub's.
	Limit int64
	// Strict makes a component over its budget a problem, Force changes what is
	// published already, and KeepDraft leaves the release a draft and the images
	// without its tags.
	Strict, Force, KeepDraft bool
	// BeforeBuild makes a plan for the time before everything is built: components that
	// are missing or unproven are no problem yet. It cannot be executed.
	BeforeBuild bool
	// Problems are reasons not to release that were found before.
	Problems []error
	// Report shows the progress.
	Report *progress.Reporter
}

// Names returns the assets of all release sets of a catalog on an architecture, each
// once.
func Names(assets *catalog.Catalog, arch catalog.Arch) []string {
	var names []string
	seen := map[string]bool{}
	for _, set := range assets.Sets {
		for _, name := range set.Components[arch] {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// on returns the components of an architecture.
func (j *Job) on(arch catalog.Arch) []Component {
	var components []Component
	for _, c := range j.Components {
		if c.Arch == arch {
			components = append(components, c)
		}
	}
	return components
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
