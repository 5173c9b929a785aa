// Package families chooses the checks for an asset by what the catalog declares of
// it.
package families

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/common"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/nydus"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/ovmf"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/qemu"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/rootfs"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/virtiofsd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/vmm"
)

// Of returns the checks of an asset, by what the tree declares: the common ones, and those
// of its family.
func Of(r recipe.Resolver, asset catalog.Asset, arch catalog.Arch) (common.Proof, error) {
	asset = asset.On(arch)
	proof := common.Proof{Asset: asset, Arch: arch, Values: map[string]string{}}
	maps.Copy(proof.Values, asset.Options)
	for _, variable := range slices.Sorted(maps.Keys(asset.Pins)) {
		value, err := r.Versions.Pin(asset.Pins[variable])
		if err != nil {
			return proof, fmt.Errorf("%s: %s: %w", asset.Pos, variable, err)
		}
		proof.Values[variable] = value
	}
	var err error
	switch pins := proof.Values; {
	case asset.Kernel != nil:
		proof.Family, err = guestKernel(r, asset, arch)
	case asset.Verify == "cloud-hypervisor", asset.Verify == "firecracker":
		proof.Family = vmm.New(vmm.Kind(asset.Verify), string(arch), asset.Name)
	case asset.Verify == "virtiofsd":
		proof.Family = virtiofsd.Daemon{Arch: string(arch)}
	case asset.Verify == "nydus":
		proof.Family = nydus.Snapshotter{Arch: string(arch), Version: pins["NYDUS_SNAPSHOTTER_VERSION"], Revision: pins["NYDUS_SNAPSHOTTER_COMMIT"]}
	case asset.Verify == "rootfs":
		proof.Family, err = guest(r, asset, arch, pins)
	case asset.Verify == "ovmf":
		proof.Family, err = ovmf.New(asset.Name, string(arch), pins["EDK2_VERSION"]+debianSuffix(r, asset.Sources["patches"]))
	case asset.Verify == "qemu":
		proof.Family, err = qemu.New(r.Tree, asset.Folder, string(arch), pins["QEMU_VERSION"], asset.Options["QEMU_SUFFIX"])
	}
	return proof, err
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

// guest returns the checks of a root filesystem. Without images it is an initrd.
func guest(r recipe.Resolver, asset catalog.Asset, arch catalog.Arch, values map[string]string) (rootfs.Guest, error) {
	plan, err := r.GuestPlan(asset, arch)
	g := rootfs.Guest{Arch: string(arch), Images: plan.Recipe.Output.Images, Budgets: plan.Budgets}
	if plan.Recipe.Root != nil {
		g.Locked = plan.Recipe.Root.Locked
	}
	if len(g.Images) == 0 {
		g.SetInitrd(values["OS"], values["OS_VERSION"], values["VARIANT"])
	}
	if asset.Extends != "" {
		g.Extension = asset.Options["EXTENSION"]
	}
	return g, err
}
