// Package store keeps artifacts by key, and the builders and sources they are made of.
// Local keeps them in OCI image layouts on disk, Registry in the repositories of a
// registry; Tiered is a Local with a Registry behind it.
//
// The one idea: all of these are entries. An entry is a manifest under a tag that
// determines what the manifest must be, and there is one way to look entries up, to pull
// and to push them. A miss is ErrNotFound. A registry that fails, or sends wrong content,
// is a warning and a miss, so that the entry is built again; only a push fails.
//
// # The artifact
//
// A manifest with artifactType application/vnd.kata-containers.asset.v1 under
// the tag <key>-<arch>. Its config is the canonical recipe, whose SHA-256 is the
// key; its first layer the tarball; its second the build record; the others are
// secondary tarballs. It has no time, so that storing the same content twice gives the
// same manifest. The tag of a key stays on the first whole artifact, unless that has a
// tarball that must not be used. Moving tags are for people and for comparing. Proofs
// refer to an artifact.
//
// Package oci has the layouts and registries; package archive vets the tarballs.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/trust"
)

// ErrNotFound is a miss: there is no whole entry.
var ErrNotFound = oci.ErrNotFound

// IsNotFound reports whether an error is a miss.
func IsNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// Output is a secondary tarball of an artifact.
type Output struct {
	Name string `json:"name"`
	// Digest is "sha256:<hex>", Size the length in bytes.
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func (o Output) what() string {
	if o.Name == "" {
		return "tarball"
	}
	return fmt.Sprintf("tarball %q", o.Name)
}

// Artifact is a stored artifact.
type Artifact struct {
	Ref
	// Digest is the digest of the tarball, "sha256:<hex>", Size its length in bytes.
	Digest string
	Size   int64
	// Outputs are the secondary tarballs, sorted by name.
	Outputs []Output
	// Recipe is the canonical recipe in JSON. Lookups do not set it.
	Recipe []byte
	// Manifest is the artifact's manifest.
	Manifest oci.Manifest
}

// output returns a tarball: "" is the main one.
func (a Artifact) output(name string) (Output, error) {
	if err := a.validate(); err != nil {
		return Output{}, err
	}
	for _, output := range append([]Output{{Digest: a.Digest, Size: a.Size}}, a.Outputs...) {
		if output.Name != name {
			continue
		}
		if err := digest.Digest(output.Digest).Validate(); err != nil {
			return Output{}, fmt.Errorf("digest %q of %s: %w", output.Digest, a.Asset, err)
		}
		return output, nil
	}
	return Output{}, fmt.Errorf("artifact %s of %s has no output %q", a.Tag(), a.Asset, name)
}

// Local is a folder of layouts, one for each asset. It is safe for concurrent use.
type Local struct {
	// Guard decides which entries that were pulled are used.
	Guard Guard

	dir    string
	report *progress.Reporter
	// layouts are the layouts used so far, by name.
	layouts sync.Map
}

// Open returns the store in a folder, which need not exist. It reads and writes nothing
// yet. The report, which may be nil, gets a warning for each damage, once, and when the
// store waits for another process.
func Open(dir string, report *progress.Reporter) *Local {
	return &Local{dir: dir, report: report}
}

// locksFolder is next to the layouts; asset names do not begin with a dot.
const locksFolder = ".locks"

func (s *Local) layout(name string) *oci.Layout {
	l, _ := s.layouts.LoadOrStore(name, &oci.Layout{
		Root: filepath.Join(s.dir, name), Locks: filepath.Join(s.dir, locksFolder, name),
		Report: s.report, Name: func(m oci.Manifest) (string, error) { return localTag(name, m) },
	})
	return l.(*oci.Layout)
}

// find returns the manifest of an entry. A missing entry is ErrNotFound; so is a damaged
// one, which it reports.
func (s *Local) find(ctx context.Context, e entry) (oci.Manifest, error) {
	if err := e.validate(); err != nil {
		return oci.Manifest{}, err
	}
	name, _ := e.place()
	l := s.layout(name)
	m, err := l.Manifest(ctx, e.local())
	if err == nil {
		err = e.check(m)
	}
	for _, part := range m.Parts() {
		if err == nil {
			err = l.Check(ctx, partName(part), part)
		}
	}
	if err == nil {
		err = s.trusts(ctx, e, m)
	}
	return m, s.missed(e, err)
}

// missed converts the error of a damaged entry, which it reports, to a miss.
func (s *Local) missed(e entry, err error) error {
	name, _ := e.place()
	switch {
	case IsDamage(err), trust.IsRefusal(err):
		s.layout(name).Note(fmt.Sprintf("ignoring the stored %s: it %v", e, err))
		return fmt.Errorf("%s %w: %w", e, err, ErrNotFound)
	case IsNotFound(err):
		return fmt.Errorf("%s in the local cache: %w", e, ErrNotFound)
	}
	return err
}

// Get returns the artifact of a key without reading its tarball. Misses are those of find.
func (s *Local) Get(ctx context.Context, ref Ref) (Artifact, error) {
	m, err := s.find(ctx, ref)
	if err != nil {
		return Artifact{}, err
	}
	artifact := artifactOf(ref, m)
	artifact.Recipe, err = s.layout(ref.Asset).Read(ctx, "recipe", m.Config, oci.MaxDocument)
	return artifact, s.missed(ref, err)
}

// List returns all whole artifacts, sorted by asset, arch and key. It reports and skips
// damaged entries, and skips foreign ones.
func (s *Local) List(ctx context.Context) ([]Artifact, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var artifacts []Artifact
	for _, name := range names {
		index, err := s.layout(name).Index(ctx)
		if err != nil {
			return nil, err
		}
		for _, d := range index.Manifests {
			e, ok := entryOf(name, d.Annotations[ocispec.AnnotationRefName])
			ref, isArtifact := e.(Ref)
			if !ok || !isArtifact {
				continue
			}
			artifact, err := s.Get(ctx, ref)
			if err == nil {
				artifacts = append(artifacts, artifact)
			} else if !IsNotFound(err) {
				return nil, err
			}
		}
	}
	slices.SortFunc(artifacts, func(a, b Artifact) int { return a.compare(b.Ref) })
	return artifacts, nil
}

func (s *Local) names() (names []string, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the store: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() && validName.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// Verify reads every blob of every layout once, and vets the tarballs. It returns one line
// for each damage, in the order of the folders. It changes nothing.
func (s *Local) Verify(ctx context.Context) (all []string, err error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		whole, lines, err := s.layout(name).Verify(ctx)
		if err != nil {
			return nil, fmt.Errorf("verifying %s: %w", name, err)
		}
		for _, m := range whole {
			tag, _ := localTag(name, m) // The layout's Verify has compared it.
			if err := s.vet(ctx, name, m); IsDamage(err) {
				lines = append(lines, fmt.Sprintf("entry %s %v", tag, err))
			} else if err != nil {
				return nil, err
			}
		}
		for _, line := range lines {
			all = append(all, name+": "+line)
		}
	}
	return all, nil
}

// Lock takes the lock for building an artifact. It waits for other processes, and for
// other callers in this one, until ctx ends, and reports that it waits. The end of a
// process frees its locks.
func (s *Local) Lock(ctx context.Context, ref Ref) (unlock func(), err error) {
	return s.lock(ctx, ref, fmt.Sprintf("waiting for another build of %s with the key %s", ref.Asset, ref.Key))
}

func (s *Local) lock(ctx context.Context, e entry, waiting string) (unlock func(), err error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	name, _ := e.place()
	return files.Lock(ctx, filepath.Join(s.dir, locksFolder, name, e.local()), files.Waiting{Report: s.report, Subject: "store", Text: waiting})
}

// IsDamage reports whether an error means that stored content is damaged or incomplete.
func IsDamage(err error) bool { return oci.IsDamage(err) }
