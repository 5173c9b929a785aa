package recipe

import (
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
)

// kernel adds the plan of a guest kernel, its fragments and the merged file.
func (r Resolver) kernel(plan *Plan, asset catalog.Asset, arch catalog.Arch) error {
	if asset.Kernel == nil {
		return nil
	}
	kernel, err := r.kernelPlan(asset, arch)
	if err := plan.unlocked(err); err != nil || kernel == nil {
		return err
	}
	plan.Read = append(plan.Read, kconfig.ExceptionsFile, kconfig.VersionFile)
	plan.Below = append(plan.Below, below(kconfig.Root, append(asset.Kernel.Folders(arch), arch.Kernel()))...)
	contents, err := r.Tree.Below(kernel.Requested.Files...)
	if err != nil {
		return err
	}
	plan.Files = append(plan.Files, contents...)
	plan.Files = append(plan.Files, NewContent(RequestedConfig, kernel.Requested.Merged()))
	plan.Kernel = kernel
	plan.Recipe.Kernel = &Kernel{
		Configs:       asset.Kernel.Folders(arch),
		Suffix:        asset.Kernel.Suffix,
		ConfigVersion: kernel.ConfigVersion,
		Exceptions:    kernel.Tolerated(),
	}
	return nil
}

// KernelPlan returns the plan of a guest kernel's configuration. The asset must be
// a kernel.
func (r Resolver) KernelPlan(asset catalog.Asset, arch catalog.Arch) (*kconfig.Plan, error) {
	plan, err := r.kernelPlan(asset, arch)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", asset.Pos, asset.Name, err)
	}
	return plan, nil
}

func (r Resolver) kernelPlan(asset catalog.Asset, arch catalog.Arch) (*kconfig.Plan, error) {
	version, err := r.Versions.Pin(asset.Pins[asset.Kernel.Version])
	if err != nil && version == "" {
		return nil, err
	}
	return kconfig.NewPlan(r.Tree, asset.Kernel.Folders(arch), arch.Kernel(), version)
}
