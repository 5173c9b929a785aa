package recipe

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Format is the form of tarballs. It is raised with every change of the form in
// package archive, so that keys distinguish old tarballs from new ones.
const Format = "tar+zstd+index-2"

// Level is the zstd level of tarballs, in the numbers of package archive: sizes are
// 0.98 to 1.02 times those of `zstd -10`, in twice the time. The next lower level
// takes a fifth of the time for 6 to 10 % more bytes, and a release is near its
// limit.
const Level = 4

// RequestedConfig is the path, among the files of a kernel, of the file with all
// requested options.
const RequestedConfig = generated + "requested.config"

// generated is the folder of the files of a build that the program generates from others.
const generated = "generated/"

func isGenerated(path string) bool { return strings.HasPrefix(path, generated) }

// versionsFile holds the pins of a tree.
const versionsFile = "versions.yaml"

// Plan is a recipe with everything that its build needs.
type Plan struct {
	Recipe Recipe
	// Key is Recipe.Key.
	Key string
	// Files are the contents of Recipe.Files, in the same order.
	Files []Content
	// Sources are the places of Recipe.Sources, in the same order.
	Sources []versions.Source
	// Kernel is set for guest kernels.
	Kernel *kconfig.Plan
	// Read are the sorted paths of all files of the tree that decide the recipe. Below are
	// the declared files and folders: a file that is added or removed below one changes
	// the recipe too.
	Read, Below []string
	// Ccache says that the build uses a cache of ccache.
	Ccache bool
	// Budgets are the largest sizes of the filesystems of images, by path, in bytes.
	Budgets map[string]int64
	// Disk is the free space that the build needs, in bytes.
	Disk int64
	// Differs are the pins that decide the build and whose values are not Kata's. They are
	// not in the key.
	Differs []versions.Difference
	// Given is the local file or folder that an import takes its members from, "" for the
	// declared source.
	Given Given
	// Unlocked are the reasons, if any, why this cannot be built: versions that the lock
	// does not have. The recipe lacks everything that depends on them, and Key is "".
	Unlocked []string
}

// Resolver makes plans from the declarations of one tree.
type Resolver struct {
	Versions *versions.File
	Tree     *Tree
	// Given replace the sources of imported assets, and assets that catalog.Replaced has
	// changed, by asset.
	Given map[string]Given
}

// Digests are those of an artifact, "sha256:<hex>": of its tarball, and of its
// secondary tarballs by name.
type Digests struct {
	Tarball string
	Outputs map[string]string
}

// Resolve reads everything that the asset declares. The digests are those of its
// dependencies, by asset name. A missing digest is an error, and so is a declared file,
// pin or source that does not exist; the error names the place of the declaration.
func (r Resolver) Resolve(asset catalog.Asset, arch catalog.Arch, digests map[string]Digests) (Plan, error) {
	asset = asset.On(arch)
	plan := r.declared(asset, arch)
	for _, fill := range []func(*Plan, catalog.Asset, catalog.Arch) error{r.pins, r.sources, r.files, r.secrets, r.kernel, r.root, r.members, r.images} {
		if err := fill(&plan, asset, arch); err != nil {
			return Plan{}, fmt.Errorf("%s: %s: %w", asset.Pos, asset.Name, err)
		}
	}
	plan.Files = sorted(plan.Files)
	for _, content := range plan.Files {
		plan.Recipe.Files = append(plan.Recipe.Files, content.File)
		if !isGenerated(content.Path) {
			plan.Read = append(plan.Read, content.Path)
		}
	}
	slices.Sort(plan.Read)
	plan.Read = slices.Compact(plan.Read)
	var err error
	if plan.Recipe.Dependencies, err = dependencies(asset, digests); err != nil {
		return Plan{}, err
	}
	if len(plan.Unlocked) == 0 {
		plan.Key, err = plan.Recipe.Key()
	}
	return plan, err
}

// declared returns the part of a plan that is a copy of the declaration.
func (r Resolver) declared(asset catalog.Asset, arch catalog.Arch) Plan {
	plan := Plan{
		Recipe: Recipe{
			Schema: Schema,
			Asset:  asset.Name,
			Arch:   string(arch),
			Builder: Builder{
				Distribution: asset.Builder.Distribution,
				Suite:        asset.Builder.Suite,
				Image:        asset.Builder.Image,
				Epoch:        asset.Builder.Epoch,
				Packages:     sortedNames(asset.Builder.Packages),
				Cross:        sortedNames(asset.Builder.Cross[arch]),
			},
			Options: maps.Clone(asset.Options),
			Output: Output{
				Format: Format, Level: Level, SourceDateEpoch: SourceDateEpoch,
				Outputs: sortedNames(asset.Outputs),
			},
		},
		Read:    []string{versionsFile, asset.Folder + "/" + catalog.FileName},
		Ccache:  asset.Builder.Ccache,
		Disk:    asset.Disk << 30,
		Differs: r.Differences(asset),
	}
	if plan.Recipe.Options == nil {
		plan.Recipe.Options = map[string]string{}
	}
	if _, err := fs.Stat(r.Tree, versions.LockFile); err == nil {
		plan.Read = append(plan.Read, versions.LockFile)
	}
	for _, step := range asset.Steps {
		plan.Recipe.Steps = append(plan.Recipe.Steps, Step{
			Name: step.Name, Script: asset.ScriptPath(step), Config: step.Config, Alone: step.Alone, Only: below(asset.Folder, step.Files),
		})
	}
	return plan
}

// Differences returns the pins of an asset and of its sources whose values are not Kata's.
func (r Resolver) Differences(asset catalog.Asset) []versions.Difference {
	pins := slices.Collect(maps.Values(asset.Pins))
	for _, source := range asset.Sources {
		pins = append(pins, r.Versions.VersionPin(source))
	}
	return r.Versions.Differences(pins...)
}

// unlocked adds an error of a version that the lock does not know to the plan, and
// returns any other error.
func (p *Plan) unlocked(err error) error {
	var unlocked *versions.Unlocked
	if !errors.As(err, &unlocked) {
		return err
	}
	if reason := unlocked.Error(); !slices.Contains(p.Unlocked, reason) {
		p.Unlocked = append(p.Unlocked, reason)
	}
	return nil
}

func dependencies(asset catalog.Asset, digests map[string]Digests) ([]Dependency, error) {
	list := []Dependency{}
	for _, name := range slices.Sorted(slices.Values(asset.Dependencies)) {
		contents, ok := digests[name]
		if !ok {
			return nil, fmt.Errorf("%s: the key of %s is pending: its dependency %s is not built", asset.Pos, asset.Name, name)
		}
		dependency := Dependency{Asset: name, Digest: contents.Tarball}
		for _, output := range slices.Sorted(maps.Keys(contents.Outputs)) {
			dependency.Outputs = append(dependency.Outputs, DependencyOutput{output, contents.Outputs[output]})
		}
		list = append(list, dependency)
	}
	return list, nil
}

// sortedNames returns a sorted copy, which is never nil.
func sortedNames(names []string) []string {
	return append([]string{}, slices.Sorted(slices.Values(names))...)
}

func (r Resolver) pins(plan *Plan, asset catalog.Asset, _ catalog.Arch) error {
	plan.Recipe.Pins = []Pin{}
	for _, env := range slices.Sorted(maps.Keys(asset.Pins)) {
		value, err := r.Versions.Pin(asset.Pins[env])
		if err := plan.unlocked(err); err != nil {
			return err
		}
		plan.Recipe.Pins = append(plan.Recipe.Pins, Pin{Path: asset.Pins[env], Env: env, Value: value})
	}
	return nil
}

func (r Resolver) sources(plan *Plan, asset catalog.Asset, _ catalog.Arch) error {
	plan.Recipe.Sources = []Source{}
	if given, found := r.Given[asset.Name]; found && asset.Import.Source == "" {
		plan.replace(asset.Name, given)
	}
	for _, name := range slices.Sorted(maps.Keys(asset.Sources)) {
		declared, err := r.Versions.Source(asset.Sources[name])
		if err := plan.unlocked(err); err != nil {
			return err
		}
		if given, found := r.Given[asset.Name]; found {
			plan.Given, declared.Places = given, given.places(declared.Places)
		}
		switch {
		case err != nil || len(declared.Places) > 0:
		case asset.Import != nil:
			plan.Unlocked = append(plan.Unlocked, nowhere(asset.Sources[name]))
		default:
			continue // This version has no such source.
		}
		declared.Name = name
		source := Source{Name: name, Path: asset.Sources[name]}
		for _, place := range declared.Places {
			source.Places = append(source.Places, Place{place.Name, place.Hash()})
			if lock := place.Lock(); lock != "" {
				if _, err := fs.Stat(r.Tree, lock); err != nil {
					return fmt.Errorf("%s:%d: the lock of the place %q: %w; add the file, or correct its path", versions.LockFile, place.Line, place.Name, err)
				}
				plan.Read = append(plan.Read, lock)
			}
		}
		plan.Recipe.Sources = append(plan.Recipe.Sources, source)
		plan.Sources = append(plan.Sources, declared)
	}
	return nil
}

func (r Resolver) files(plan *Plan, asset catalog.Asset, _ catalog.Arch) error {
	names := below(asset.Folder, asset.Files)
	var optional []string // Such as patches, which a family may not have.
	for _, step := range asset.Steps {
		names = append(names, asset.ScriptPath(step))
		optional = append(optional, below(asset.Folder, step.Files)...)
	}
	plan.Below = slices.Concat(names, optional)
	for _, name := range optional {
		if _, err := fs.Stat(r.Tree, name); !errors.Is(err, fs.ErrNotExist) {
			names = append(names, name)
		}
	}
	contents, err := r.Tree.Below(names...)
	plan.Files = append(plan.Files, contents...)
	if err == nil && asset.Go != "" {
		err = r.goFiles(plan, asset.Go)
	}
	return err
}

// below returns the paths of names in a folder.
func below(folder string, names []string) []string {
	var paths []string
	for _, name := range names {
		paths = append(paths, path.Join(folder, name))
	}
	return paths
}

// secrets adds the public certificates of the secrets and their fingerprints.
func (r Resolver) secrets(plan *Plan, asset catalog.Asset, _ catalog.Arch) error {
	plan.Recipe.Secrets = []Secret{}
	for _, name := range slices.Sorted(maps.Keys(asset.Secrets)) {
		content, err := r.Tree.Content(asset.Folder + "/" + asset.Secrets[name])
		if err != nil {
			return fmt.Errorf("the certificate of the secret %s: %w", name, err)
		}
		block, _ := pem.Decode(content.Data)
		if block == nil || block.Type != "CERTIFICATE" {
			return fmt.Errorf("%s, the certificate of the secret %s, is not a PEM certificate", content.Path, name)
		}
		plan.Recipe.Secrets = append(plan.Recipe.Secrets, Secret{name, "sha256:" + hexSHA256(block.Bytes)})
		plan.Files = append(plan.Files, content)
	}
	return nil
}
