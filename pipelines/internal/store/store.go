// Package store keeps artifacts by key in OCI image layouts on disk, one layout
// per asset, and in the repositories of a registry behind it, one per asset.
// Store is the one, Registry the other, Tiered both.
//
// # The artifact
//
// A manifest with artifactType application/vnd.kata-containers.asset.v1 under
// the tag <key>-<arch>. Its config is the canonical recipe, whose SHA-256 is the
// key; its first layer the tarball; its second the build record; the others are
// secondary tarballs. It holds no time: storing the same content twice gives the
// same manifest.
//
// # Concurrency and damage
//
// Any number of processes may use a folder at once. Readers take no lock: blobs
// are written once, under their digest, and the index is replaced by rename.
// Writers of one layout take turns by flock. So a process that is killed leaves
// at worst blobs that no manifest names. An index that cannot be read is rebuilt
// from the manifests among the blobs. Nothing is synced to disk but the index: a
// blob that a power cut left short is found by its digest when it is used.
//
// # The registry
//
// A lookup is one request, of the manifest under the key's tag. Blobs are
// streamed into the layout and hashed on the way; what is not whole yet is in a
// folder beside the blobs, and resumed after a lost connection or by the next
// process. What the registry sends is
// believed only where it has the digest that was asked for. Anything else that
// is wrong with a registry makes a note and a miss, so that the artifact is
// built; only pushing fails for it. Tags by key are never moved from a whole
// artifact to another; the moving tags are for people and for comparing.
package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

// ErrNotFound is the miss: the store has no whole artifact for a key.
var ErrNotFound = errdef.ErrNotFound

// IsNotFound tells a miss from other errors.
func IsNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// Ref names an artifact.
type Ref struct {
	Asset, Arch string
	// Key is the SHA-256 of the canonical recipe, in hex.
	Key string
}

// Tag returns the artifact's tag in its layout or repository.
func (r Ref) Tag() string { return r.Key + "-" + r.Arch }

// Output is a secondary tarball of an artifact.
type Output struct {
	Name string `json:"name"`
	// Digest is "sha256:<hex>", Size the length in bytes.
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// what names a tarball in messages.
func (o Output) what() string {
	if o.Name == "" {
		return "tarball"
	}
	return fmt.Sprintf("tarball %q", o.Name)
}

// Artifact is a stored artifact.
type Artifact struct {
	Ref
	// Digest is that of the tarball, "sha256:<hex>", Size its length in bytes.
	Digest string
	Size   int64
	// Outputs are the secondary tarballs, sorted by name.
	Outputs []Output
	// Recipe is the canonical recipe, Record the build record, both JSON.
	Recipe, Record []byte
	// Manifest is the digest of the manifest, "sha256:<hex>".
	Manifest string
}

// main returns the artifact's tarball as an output without a name.
func (a Artifact) main() Output { return Output{Digest: a.Digest, Size: a.Size} }

// is makes sure that an artifact is the one of a key. The error is *damage.
func (a Artifact) is(ref Ref) error {
	if a.Ref != ref {
		return &damage{fmt.Sprintf("is of asset %q, arch %q, key %s", a.Asset, a.Arch, a.Key)}
	}
	return nil
}

// output returns a tarball: "" is the main one.
func (a Artifact) output(name string) (Output, error) {
	for _, output := range append([]Output{a.main()}, a.Outputs...) {
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

// Put is an artifact to store: Tarball is a path, Outputs are the paths of the
// secondary tarballs by name, the rest is as in Artifact.
type Put struct {
	Ref
	Tarball        string
	Outputs        map[string]string
	Recipe, Record []byte
}

// Store is a folder of layouts. It is safe for concurrent use.
type Store struct {
	dir  string
	note func(string)

	mu    sync.Mutex
	noted map[string]bool
	// rebuilt are the indexes of assets that could not be rebuilt on disk.
	rebuilt map[string]ocispec.Index
}

// Open returns the store in a folder, which need not exist. It touches nothing.
// Damage that was found, each kind once, and waiting for other processes are
// told to note, by one goroutine at a time.
func Open(dir string, note func(string)) *Store {
	return &Store{dir: dir, note: note, noted: map[string]bool{}, rebuilt: map[string]ocispec.Index{}}
}

// Get returns the artifact of a key without reading its tarball. A damaged entry
// is noted and counts as ErrNotFound, like a missing one.
func (s *Store) Get(ctx context.Context, ref Ref) (Artifact, error) {
	if err := ref.validate(); err != nil {
		return Artifact{}, err
	}
	l := s.layout(ref.Asset)
	index, err := l.index(ctx)
	if err != nil {
		return Artifact{}, err
	}
	return l.get(ctx, index, ref)
}

// get is Get in an index that was read already.
func (l *layout) get(ctx context.Context, index ocispec.Index, ref Ref) (Artifact, error) {
	descriptor, found := find(index, ref.Tag())
	if !found {
		return Artifact{}, fmt.Errorf("artifact %s of %s in the local cache: %w", ref.Tag(), ref.Asset, ErrNotFound)
	}
	artifact, err := l.load(ctx, descriptor)
	if err == nil {
		err = artifact.is(ref)
	}
	var damaged *damage
	if errors.As(err, &damaged) {
		l.store.tell(fmt.Sprintf("the stored artifact %s of %s is ignored: it %v", ref.Tag(), ref.Asset, damaged))
		return Artifact{}, fmt.Errorf("artifact %s of %s %w: %w", ref.Tag(), ref.Asset, damaged, ErrNotFound)
	}
	return artifact, err
}

// tell notes a text the first time.
func (s *Store) tell(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.noted[text] {
		s.noted[text] = true
		s.note(text)
	}
}

// say notes a text.
func (s *Store) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(text)
}

func (s *Store) layout(asset string) *layout {
	return &layout{
		store: s, asset: asset,
		root: filepath.Join(s.dir, asset),
		lock: filepath.Join(s.dir, locksFolder, asset, "layout"),
	}
}

// Names become parts of paths, tags and repositories.
var (
	validName = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)
	validKey  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (r Ref) validate() error {
	switch {
	case !validName.MatchString(r.Asset):
		return fmt.Errorf("asset name %q: want lower-case letters, digits and single . _ - between them", r.Asset)
	case !validName.MatchString(r.Arch):
		return fmt.Errorf("arch %q of %s: want lower-case letters, digits and single . _ - between them", r.Arch, r.Asset)
	case !validKey.MatchString(r.Key):
		return fmt.Errorf("key %q of %s: want a SHA-256 in hex", r.Key, r.Asset)
	}
	return nil
}

// damage says what is wrong with an entry of the store; it reads on from "it".
type damage struct{ what string }

// IsDamage tells from other errors that what is stored is wrong or not all there.
func IsDamage(err error) bool {
	var damaged *damage
	return errors.As(err, &damaged)
}

// Error returns what is wrong.
func (d *damage) Error() string { return d.what }
