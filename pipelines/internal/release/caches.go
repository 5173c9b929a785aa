package release

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/matrix"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// Component is an asset of a release set, as found in the caches.
type Component struct {
	Asset string       `json:"asset"`
	Arch  catalog.Arch `json:"arch"`
	// Version is the upstream version, "" if there is none.
	Version string `json:"version,omitempty"`
	// Differs are the pins that decide it and whose values are not Kata's.
	Differs []versions.Difference `json:"differs,omitempty"`
	// State is "hit", "build", "pending" or "out of reach". Where is the cache that has the artifact;
	// Why says why none has.
	State build.State `json:"state"`
	Where string      `json:"where"`
	Why   string      `json:"why"`
	// Key, Digest and Size are "" and 0 while they are unknown.
	Key    string `json:"key"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Unproven says why no proof of the artifact is accepted, "" if one is.
	Unproven string `json:"unproven,omitempty"`
	// PublicKey says why its modules can be signed by anybody, "" if they cannot.
	PublicKey string `json:"publicKey,omitempty"`
	// Unreleasable says which asset in it is not for releases, and why, "" for none.
	Unreleasable string `json:"unreleasable,omitempty"`

	Artifact store.Artifact `json:"-"`
	// inside are the artifacts that it was made of.
	inside []store.Artifact
	// required are the checks that a proof must have passed, and proof is one that did.
	required []string
	proof    []byte
}

// Find looks up assets by the keys of the tree, in the order of names. It neither pulls
// nor builds anything.
func Find(ctx context.Context, ws *workspace.Workspace, names []string, arch catalog.Arch) ([]Component, error) {
	planner := build.Planner{Catalog: ws.Catalog, Resolver: ws.Resolver, Store: ws.Store, Report: ws.Report}
	plan, err := planner.Plan(ctx, names, arch)
	if err != nil {
		return nil, err
	}
	var components []Component
	for _, name := range names {
		s := plan.Step(name)
		asset, err := ws.Catalog.Find(name, arch)
		if err != nil {
			return nil, err
		}
		c := Component{
			Asset: name, Arch: arch, Version: versionOf(ws.Resolver.Versions, asset), Differs: s.Differs, State: s.State, Where: s.Where,
			Key: s.Key, Digest: s.Digest, Size: s.Size, Artifact: s.Artifact(),
			PublicKey: declaredKey(plan, name),
		}
		if c.Unreleasable, err = unreleasable(ws.Catalog, name, arch); err != nil {
			return nil, err
		}
		c.required, _ = matrix.Required(asset, arch)
		closure, err := ws.Catalog.Closure([]string{name}, arch)
		if err != nil {
			return nil, err
		}
		for _, of := range closure {
			if of.Name != name {
				c.inside = append(c.inside, plan.Step(of.Name).Artifact())
			}
		}
		switch s.State {
		case build.Pending:
			c.Why = "its key depends on " + strings.Join(s.PendingOn, ", ") + ", which must be built first"
		case build.OutOfReach:
			c.Why = s.Origin.String()
		case build.Miss:
			c.Why = fmt.Sprintf("no cache has the key %.12s", s.Key)
		}
		components = append(components, c)
	}
	return components, nil
}

// versionOf returns the versions and tags among an asset's pins: "v6.18.15".
func versionOf(pins *versions.File, asset catalog.Asset) string {
	var found []string
	for _, path := range slices.Sorted(maps.Values(asset.Pins)) {
		if !strings.HasSuffix(path, ".version") && !strings.HasSuffix(path, ".tag") {
			continue
		}
		// The key of the asset was made from the same pins.
		if value, err := pins.Pin(path); err == nil && !slices.Contains(found, value) {
			found = append(found, value)
		}
	}
	return strings.Join(found, ", ")
}

// Subject returns the subject that a proof of an artifact must have.
func Subject(a store.Artifact) report.Subject {
	return report.Subject{Asset: a.Asset, Arch: a.Arch, Key: a.Key, Tarball: a.Digest, Outputs: build.Contents(a).Outputs}
}

// Prove looks up the proofs of each artifact. For those without an accepted one it sets
// Unproven.
func Prove(ctx context.Context, from *store.Tiered, components []Component) error {
	for i, c := range components {
		if c.State != build.Hit {
			continue
		}
		proofs, err := from.Attached(ctx, c.Artifact, store.Proof)
		if err != nil {
			return fmt.Errorf("looking for the proofs of %q: %w", c.Asset, err)
		}
		if err := report.Accept(proofs, Subject(c.Artifact), c.required...); err != nil {
			components[i].Unproven = err.Error()
			continue
		}
		for _, proof := range proofs {
			if report.Accept([][]byte{proof}, Subject(c.Artifact), c.required...) == nil {
				components[i].proof = proof
				break
			}
		}
	}
	return nil
}

// Tarballs returns the tarballs of components in the local store. It pulls those that
// only the registry has.
func Tarballs(ctx context.Context, from *store.Tiered, components []Component) ([]archive.Component, error) {
	var tarballs []archive.Component
	for _, c := range components {
		path, err := from.Blob(ctx, c.Artifact, "")
		if err != nil {
			return nil, fmt.Errorf("reading %q for %s: %w", c.Asset, c.Arch, err)
		}
		tarballs = append(tarballs, archive.Component{Name: c.Asset, Path: path, Digest: strings.TrimPrefix(c.Digest, "sha256:")})
	}
	return tarballs, nil
}

// Missing returns an error that lists the components that no cache has, with the
// command that builds them, and those that no build can make.
func Missing(components []Component) error {
	why := func(c Component) string {
		if c.State == build.OutOfReach {
			return ""
		}
		return c.Why
	}
	return errors.Join(Unreachable(components), listed(components, "missing", why, func(names []string) string {
		return fmt.Sprintf("are missing from the caches: build them (`pipelines build-asset --arch %s %s`)", components[0].Arch, strings.Join(names, " "))
	}))
}

// Unreachable returns an error that lists the components that no build can make.
func Unreachable(components []Component) error {
	why := func(c Component) string {
		if c.State == build.OutOfReach {
			return c.Why
		}
		return ""
	}
	return listed(components, "unreachable", why, func(names []string) string {
		return fmt.Sprintf("cannot be built: complete %s (`pipelines bump --help`), release only other architectures (--arch), or leave the assets out of all (--without %s)", versions.LockFile, strings.Join(names, ","))
	})
}

// Unproven returns an error that lists the components without a proof that passed, with
// the command that proves one.
func Unproven(components []Component) error {
	return listed(components, "unproven", func(c Component) string { return c.Unproven }, func([]string) string {
		return fmt.Sprintf("have no proof: verify each of them (`pipelines verify --arch %s NAME`)", components[0].Arch)
	})
}

// listed returns an error that lists the components with a problem, and what to do
// about it. All of them are of one architecture.
func listed(components []Component, label string, wrong func(Component) string, todo func(names []string) string) error {
	var names []string
	var problems []error
	for _, c := range components {
		if why := wrong(c); why != "" {
			names = append(names, c.Asset)
			problems = append(problems, fmt.Errorf("%s: %s: %s", label, c.Asset, why))
		}
	}
	if len(names) == 0 {
		return nil
	}
	head := fmt.Errorf("%d of %d components %s", len(names), len(components), todo(names))
	return errors.Join(append([]error{head}, problems...)...)
}
