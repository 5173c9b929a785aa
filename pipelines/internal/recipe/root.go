package recipe

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/distro"
)

// Locked is a package of a root filesystem. Hash is that of the package in the index of
// the distribution, as its package manager writes it.
type Locked struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Hash    string `json:"hash"`
}

// root adds the root filesystem of a guest.
func (r Resolver) root(plan *Plan, asset catalog.Asset, arch catalog.Arch) error {
	if asset.Root == nil || len(plan.Unlocked) > 0 {
		return nil
	}
	declared, problem, err := r.lockedRoot(asset)
	if err != nil {
		return err
	}
	lock := distro.LockFile(asset.Folder, asset.Name, arch)
	plan.Read = append(plan.Read, path.Join(asset.Folder, declared.Distribution+".yaml"))
	if plan.Below = append(plan.Below, lock); len(declared.Locked) > 0 {
		plan.Read = append(plan.Read, lock)
	}
	if problem != "" {
		plan.Unlocked = append(plan.Unlocked, problem)
		return nil
	}
	plan.Recipe.Root = &declared
	return nil
}

// rootOrigin is Origin for the root filesystem of an asset, if it declares one.
func (r Resolver) rootOrigin(asset catalog.Asset, o Origin) (Origin, error) {
	if asset.Root == nil {
		return o, nil
	}
	_, problem, err := r.lockedRoot(asset)
	if err != nil {
		return o, fmt.Errorf("%s: %s: %w", asset.Pos, asset.Name, err)
	}
	if problem != "" {
		o.How, o.Why = OutOfReach, problem
	}
	return o, nil
}

// lockedRoot is Root with the locked packages, if there is a lock.
func (r Resolver) lockedRoot(asset catalog.Asset) (root Builder, problem string, err error) {
	if root, problem, err = r.Root(asset); problem == "" && err == nil {
		problem, err = r.lock(&root, asset)
	}
	return root, problem, err
}

// Root returns the root filesystem that an asset declares, as Asset.On returns it, without
// its lock. The problem is what the tree lacks to make it, "" for nothing.
func (r Resolver) Root(asset catalog.Asset) (root Builder, problem string, err error) {
	at, values := asset.Root, map[string]string{}
	for env, path := range asset.Pins {
		if values[env], err = r.Versions.Pin(path); err != nil {
			return root, "", err
		}
	}
	name, release := values[at.Distribution], values[at.Release]
	d, err := distro.Load(r.Tree, asset.Folder, name)
	if err != nil {
		return root, "", fmt.Errorf("%s: %w", asset.Pins[at.Distribution], err)
	}
	declared, err := d.Release(release)
	if err != nil {
		return root, "", fmt.Errorf("%s: %w", asset.Pins[at.Release], err)
	}
	root = Builder{Distribution: name, Suite: release, Image: declared.Image, Epoch: d.Epoch, Cross: []string{}, Manager: d.Manager}
	var repository *distro.Repository
	if root.Packages, repository, err = d.Packages(at.Parts, at.Arch, values); err == nil && repository != nil {
		root.Repository, root.Keyring, err = r.repository(asset, *repository, values)
	}
	if err != nil {
		return root, "", err
	}
	root.Remove = slices.DeleteFunc(slices.Sorted(slices.Values(d.Remove)), func(name string) bool { return slices.Contains(root.Packages, name) })
	if declared.Image == distro.Unknown {
		return root, fmt.Sprintf("%s: the digest of the image of %s %s is unknown: resolve it, and write it there", d.Pos(release), name, release), nil
	}
	return root, "", nil
}

// repository returns the address of another repository of packages, and its keyring.
func (r Resolver) repository(asset catalog.Asset, declared distro.Repository, values map[string]string) (address, keyring string, err error) {
	if values[declared.Address] == "" || asset.Sources[declared.Keyring] == "" {
		return "", "", fmt.Errorf("the repository of its parts needs the pin %s and the source %s", declared.Address, declared.Keyring)
	}
	source, err := r.Versions.Source(asset.Sources[declared.Keyring])
	keyring = declared.Keyring
	for _, place := range source.Places {
		keyring += " " + place.Hash()
	}
	return values[declared.Address], keyring, err
}

// lock adds the locked packages to a root filesystem, if it has a lock.
func (r Resolver) lock(root *Builder, asset catalog.Asset) (problem string, err error) {
	file := distro.LockFile(asset.Folder, asset.Name, asset.Root.Arch)
	lock, found, err := distro.ReadLock(r.Tree, file)
	if err != nil || !found {
		return "", err
	}
	for _, p := range lock.Packages {
		root.Locked = append(root.Locked, Locked(p))
	}
	again := fmt.Sprintf("run `pipelines rootfs lock %s --arch %s`", asset.Name, asset.Root.Arch)
	if lock.Distribution != root.Distribution || lock.Release != root.Suite {
		return fmt.Sprintf("%s is for %s %s, and not for %s %s: %s", file, lock.Distribution, lock.Release, root.Distribution, root.Suite, again), nil
	}
	if lacks := lock.Lacks(root.Packages); len(lacks) > 0 {
		return fmt.Sprintf("%s lacks %s: %s", file, strings.Join(lacks, ", "), again), nil
	}
	return "", nil
}
