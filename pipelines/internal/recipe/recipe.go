// Package recipe turns an asset of the catalog into a Recipe: everything that
// decides what its build produces, as plain data. The key of an asset is the
// SHA-256 of the canonical JSON of its recipe.
//
// # The key
//
// In the key: the schema number below; asset and architecture; the declared builder
// (distribution, suite, image digest, package names, epoch), and the same of the root
// filesystem of a guest, with its locked packages; every file of the
// build (path, mode, SHA-256) as it is in the working tree, uncommitted edits
// included; pins and options with their resolved values; the declared hashes of all
// places of every source; the steps; the digests of the tarballs of the
// dependencies; for each secret the fingerprint of its public certificate; for
// kernels the folders of their configuration, its version and the exceptions that
// apply; for imports the members and their modes, and the hash of a local archive that is
// used instead of the declared one; format, compression level and time stamp of the output, the names of
// secondary outputs, and the images with the version of their layout.
//
// Not in the key: time, host, user, git state, the number of processors, values of
// secrets, undeclared files, the layout of YAML, which equivalent of a builder or
// source was used, the versions of the installed packages. The last two are
// recorded with the artifact.
//
// Canonical JSON is the output of [encoding/json] for Recipe, without HTML escapes
// and without a final newline: fields in the order of their declaration, map keys
// sorted, lists in an order that Resolve fixes.
package recipe

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Schema is the version of the form of recipes. It is raised whenever the meaning of a
// recipe changes but its declared inputs do not.
//
//	1  the first
//	2  secrets, secondary outputs, cross builds, steps that are alone
const Schema = 2

// SourceDateEpoch is the time stamp of everything that is built, in seconds since
// 1970: 2026-03-01 00:00 UTC, about the time of the pinned release. It is a
// constant, because the output must not depend on the time of the build.
const SourceDateEpoch = 1772323200

// Folders of the container that the steps run in. An artifact has none of them inside.
const (
	FilesFolder        = "/kata/files"
	SourcesFolder      = "/kata/sources"
	DependenciesFolder = "/kata/dependencies"
	BuildFolder        = "/build"
	HomeFolder         = "/root"
	RootFolder         = "/kata/root"
)

// Recipe is everything that decides what the build of an asset produces. With members in
// Import it has one source, and neither a builder nor steps.
type Recipe struct {
	Schema       int               `json:"schema"`
	Asset        string            `json:"asset"`
	Arch         string            `json:"arch"`
	Builder      Builder           `json:"builder"`
	Root         *Builder          `json:"root,omitempty"`
	Steps        []Step            `json:"steps"`
	Files        []File            `json:"files"`
	Pins         []Pin             `json:"pins"`
	Options      map[string]string `json:"options"`
	Sources      []Source          `json:"sources"`
	Dependencies []Dependency      `json:"dependencies"`
	Secrets      []Secret          `json:"secrets"`
	Kernel       *Kernel           `json:"kernel,omitempty"`
	Import       []Member          `json:"import,omitempty"`
	Output       Output            `json:"output"`
}

// Builder is the declared container of the build. Image and Suite are declared
// equivalent, as are a machine of the recipe's architecture and one of another with
// the packages of Cross: which one was used is recorded with the artifact.
//
// The root filesystem of a guest is made like a builder of the recipe's architecture.
// Manager is the program that installs its packages, Remove are packages that only an
// installation needs, and Locked are all packages that are left, if there is a lock.
type Builder struct {
	Distribution string   `json:"distribution"`
	Suite        string   `json:"suite"`
	Image        string   `json:"image"`
	Epoch        int      `json:"epoch"`
	Packages     []string `json:"packages"`
	Cross        []string `json:"cross"`
	Manager      string   `json:"manager,omitempty"`
	Remove       []string `json:"remove,omitempty"`
	Locked       []Locked `json:"locked,omitempty"`
	// Repository is the address of another repository of packages, and Keyring the source
	// with its keys: its name and hashes.
	Repository string `json:"repository,omitempty"`
	Keyring    string `json:"keyring,omitempty"`
}

// Step is one script, by its path in Files. Config is the path in the container of
// the final kernel configuration that the step leaves. A step with Alone sees only
// its script, the files at or below Only, the sources and the pins.
type Step struct {
	Name   string   `json:"name"`
	Script string   `json:"script"`
	Config string   `json:"config,omitempty"`
	Alone  bool     `json:"alone,omitempty"`
	Only   []string `json:"only,omitempty"`
}

// File is a file of the build: a slash-separated path relative to the root of the
// tree, "0644" or "0755", and the SHA-256 of its content in hex.
type File struct {
	Path   string `json:"path"`
	Mode   string `json:"mode"`
	SHA256 string `json:"sha256"`
}

// Pin is a value of versions.yaml and the variable that a step reads it from.
type Pin struct {
	Path  string `json:"path"`
	Env   string `json:"env"`
	Value string `json:"value"`
}

// Source is a downloaded file, $SOURCES/<name> in a step. Its places are
// declared equivalents.
type Source struct {
	Name   string  `json:"name"`
	Path   string  `json:"path"`
	Places []Place `json:"places"`
}

// Place is one archive of a source. Hash is "sha256:<hex>", or "h1:<base64>"
// for a Go module.
type Place struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
}

// Dependency is the artifact of another asset: Digest is that of its tarball,
// "sha256:<hex>", so that an unchanged output stops a rebuild.
type Dependency struct {
	Asset   string             `json:"asset"`
	Digest  string             `json:"digest"`
	Outputs []DependencyOutput `json:"outputs,omitempty"`
}

// DependencyOutput is a secondary tarball of a dependency.
type DependencyOutput struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// Secret is a variable whose value only the build sees. Fingerprint is
// "sha256:<hex>" of the DER of the public certificate that belongs to it.
type Secret struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
}

// Kernel is the input of a kernel's configuration, in addition to the fragments
// among Files. Exceptions are the requested options that the final configuration
// may lack.
type Kernel struct {
	Configs       []string `json:"configs"`
	Suffix        string   `json:"suffix"`
	ConfigVersion int      `json:"config_version"`
	Exceptions    []string `json:"exceptions"`
}

// Member is a member of an imported archive, as in the asset's declaration with the
// values of its variables: see package foreign. Mode is "0755", "0644" or "".
type Member struct {
	From string `json:"from"`
	To   string `json:"to"`
	Mode string `json:"mode,omitempty"`
}

// Output is the form of the tarball. Outputs are the names of secondary ones,
// sorted. Images are in the order of their declared paths.
type Output struct {
	Format          string   `json:"format"`
	Level           int      `json:"level"`
	SourceDateEpoch int64    `json:"source_date_epoch"`
	Outputs         []string `json:"outputs"`
	Images          []Image  `json:"images,omitempty"`
}

// Imported reports whether the asset is taken out of an archive, without steps.
func (r Recipe) Imported() bool { return len(r.Import) > 0 }

// Canonical returns the canonical JSON of the recipe.
func (r Recipe) Canonical() ([]byte, error) { return canonical(r) }

// Key returns the SHA-256 of the canonical recipe in hex.
func (r Recipe) Key() (string, error) { return canonicalHash(r) }

// canonical returns the canonical JSON of a value; see the package.
func canonical(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encoding canonical JSON: %w", err)
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

// canonicalHash returns the SHA-256 of the canonical JSON of a value in hex.
func canonicalHash(value any) (string, error) {
	data, err := canonical(value)
	return hexSHA256(data), err
}

func hexSHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// builderSchema is the version of how builders are made. It is raised whenever the same
// declaration results in a different builder.
const builderSchema = 1

// rootSchema is builderSchema for root filesystems.
const rootSchema = 3

// On returns the builder on a machine of an architecture: with the packages for
// cross-building if the recipe is for another one. It fails if the recipe cannot be built
// there. The steps of a root filesystem run anywhere: its packages are installed in a
// container of its own architecture.
func (r Recipe) On(machine string) (Builder, error) {
	b := r.Builder
	if machine != r.Arch {
		if len(b.Cross) == 0 && r.Root == nil {
			return Builder{}, fmt.Errorf("%s for %s can only be built on %s, but the engine runs on %s: name another engine with --engine", r.Asset, r.Arch, r.Arch, machine)
		}
		b.Packages = slices.Sorted(slices.Values(slices.Concat(b.Packages, b.Cross)))
	}
	b.Cross = nil
	return b, nil
}

// ID identifies the builder that On returns on a machine of an architecture: the
// SHA-256, in hex, of the canonical JSON of its parts. It is not in a key, which has
// the declaration itself; recipes with the same ID share a builder.
func (b Builder) ID(machine string) (string, error) {
	type made struct {
		Builder
		Cross any `json:"cross,omitempty"` // It hides the packages of other machines.
	}
	schema := builderSchema
	if b.Manager != "" {
		schema = rootSchema
	}
	return canonicalHash(struct {
		Schema  int    `json:"schema"`
		Arch    string `json:"arch"`
		Builder made   `json:"builder"`
	}{schema, machine, made{Builder: b}})
}

// Parse reads a canonical recipe of this schema or an older one.
func Parse(canonical []byte) (Recipe, error) {
	var form struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(canonical, &form); err != nil {
		return Recipe{}, fmt.Errorf("reading a recipe: %w", err)
	}
	if form.Schema < 1 || form.Schema > Schema {
		return Recipe{}, fmt.Errorf("reading a recipe: schema %d, but this program reads 1 to %d", form.Schema, Schema)
	}
	var r Recipe
	decoder := json.NewDecoder(bytes.NewReader(canonical))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return Recipe{}, fmt.Errorf("reading a recipe: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Recipe{}, errors.New("reading a recipe: trailing data")
	}
	return r, nil
}
