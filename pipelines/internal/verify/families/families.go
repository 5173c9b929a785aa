// Package families chooses the checks for an asset by what the catalog declares of
// it.
package families

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/nydus"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/ovmf"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/qemu"
)

// Of returns the family that verifies an asset, by what the tree declares.
func Of(r recipe.Resolver, asset catalog.Asset, arch catalog.Arch) (verify.Family, error) {
	asset = asset.On(arch)
	var unpinned error
	pin := func(variable string) string {
		value, err := r.Versions.Pin(asset.Pins[variable])
		if err != nil {
			unpinned = errors.Join(unpinned, fmt.Errorf("%s: %s: %w", asset.Pos, variable, err))
		}
		return value
	}
	var family verify.Family
	var err error
	switch {
	case asset.Kernel != nil:
		family, err = guestKernel(r, asset, arch)
	case asset.Verify == "nydus":
		family = nydus.Snapshotter{Arch: string(arch), Version: pin("NYDUS_SNAPSHOTTER_VERSION"), Revision: pin("NYDUS_SNAPSHOTTER_COMMIT")}
	case asset.Verify == "ovmf":
		family, err = ovmf.New(asset.Name, string(arch), pin("EDK2_VERSION")+debianSuffix(r, asset.Sources["patches"]))
	case asset.Verify == "qemu":
		family, err = qemu.New(r.Tree, asset.Folder, string(arch), pin("QEMU_VERSION"), asset.Options["QEMU_SUFFIX"])
	default:
		err = fmt.Errorf("nothing to check: %s declares no verify, which would be one of %s", asset.Pos, strings.Join(catalog.Kinds, ", "))
	}
	return family, cmp.Or(unpinned, err)
}

// debianSuffix is what Debian's patches add to the version of a firmware, "" for a version
// without such patches.
func debianSuffix(r recipe.Resolver, patches string) string {
	source, err := r.Versions.Source(patches)
	if err != nil || len(source.Places) == 0 || source.Places[0].Debian == nil {
		return ""
	}
	return "-debian-" + source.Places[0].Debian.Version
}

func guestKernel(r recipe.Resolver, asset catalog.Asset, arch catalog.Arch) (kernel.Kernel, error) {
	k := kernel.Kernel{Arch: string(arch), Suffix: asset.Kernel.Suffix, Modules: slices.Contains(asset.Outputs, kernel.ModulesOutput)}
	var err error
	if k.Plan, err = r.KernelPlan(asset, arch); err != nil {
		return k, err
	}
	for _, secret := range slices.Sorted(maps.Keys(asset.Secrets)) {
		content, err := r.Tree.Content(asset.Folder + "/" + asset.Secrets[secret])
		if err != nil {
			return k, fmt.Errorf("the certificate of the secret %s: %w", secret, err)
		}
		k.Certificate = content.Data
	}
	return k, nil
}
