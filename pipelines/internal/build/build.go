// Package build plans what building assets takes, and executes plans. A Plan is
// a value: a step for each asset, dependencies first, that is a hit in the
// store, a miss, or pending on misses. Verbs that look up, print, build and
// release start from the same plan; an Executor is the only thing that changes
// anything.
//
// It leaves out how a recipe becomes a tarball, which is a Builder's work, and
// where artifacts are kept, which is a Store's.
package build

import (
	"context"
	"errors"
	"os"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Builder builds recipes.
type Builder interface {
	// Check reports everything that would keep the steps from being built, parallel at
	// a time, without changing anything.
	Check(ctx context.Context, steps []Step, parallel int) error
	// Build builds one recipe. Dependencies maps the name of each dependency to
	// its tarball, and "<name>-<output>" to each secondary one.
	Build(ctx context.Context, plan recipe.Plan, dependencies map[string]string) (Built, error)
}

// Built is the result of a Builder.
type Built struct {
	// Work is the folder of the files, which is locked while it is open.
	Work *os.File
	// Tarballs are the paths of the tarballs by output; "" is the main one.
	Tarballs map[string]string
	// Record says, in JSON, what the key leaves open: versions of packages,
	// places of sources, the base and engine that were used.
	Record []byte
}

// Remove removes what was built, once the caller has what it needs.
func (b Built) Remove() error { return errors.Join(os.RemoveAll(b.Work.Name()), b.Work.Close()) }

// Store keeps artifacts by key; see store.Tiered.
type Store interface {
	Find(ctx context.Context, ref store.Ref) (artifact store.Artifact, where string, err error)
	List(ctx context.Context) ([]store.Artifact, error)
	Latest(ctx context.Context, asset string, tags ...string) (store.Artifact, error)
	HasSource(ctx context.Context, hash string) (bool, error)
	Lock(ctx context.Context, ref store.Ref) (unlock func(), err error)
	Put(ctx context.Context, put store.Put) (store.Artifact, error)
	// Blob returns the path of a tarball where it is stored, Export copies it.
	Blob(ctx context.Context, artifact store.Artifact, output string) (path string, err error)
	Export(ctx context.Context, artifact store.Artifact, output, path string) (changed bool, err error)
	Publish(ctx context.Context, artifact store.Artifact, tags []string) error
}

// Result is one asset whose tarballs are in place.
type Result struct {
	Asset  string `json:"asset"`
	Arch   string `json:"arch"`
	Key    string `json:"key"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Path is the tarball. Changed is false if it and the secondary ones existed
	// already.
	Path    string `json:"path"`
	Changed bool   `json:"changed"`
	// Outputs are the paths of the secondary tarballs, by name.
	Outputs map[string]string `json:"outputs,omitempty"`
	// Cached is true where nothing was built.
	Cached bool `json:"cached"`
	// Reproduced is true where a rebuild gave the same bytes.
	Reproduced bool `json:"reproduced,omitempty"`
}

// TarballName returns the file name of an asset's tarball.
func TarballName(asset string) string { return "kata-static-" + asset + ".tar.zst" }

// OutputName returns the file name of a tarball of an asset; "" is the main output.
func OutputName(asset, output string) string {
	if output != "" {
		asset += "-" + output
	}
	return TarballName(asset)
}

// outputs names the tarballs of an artifact; "" is the main one.
func outputs(artifact store.Artifact) []string {
	names := []string{""}
	for _, output := range artifact.Outputs {
		names = append(names, output.Name)
	}
	return names
}

// Contents returns the digests of an artifact that go into the keys of its
// dependents.
func Contents(artifact store.Artifact) recipe.Digests {
	digests := recipe.Digests{Tarball: artifact.Digest, Outputs: map[string]string{}}
	for _, output := range artifact.Outputs {
		digests.Outputs[output.Name] = output.Digest
	}
	return digests
}
