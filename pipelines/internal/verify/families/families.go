// Package families chooses the checks for an asset by what the catalog declares of
// it.
package families

import (
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

// Of returns the family that verifies an asset, with what the tree declares.
func Of(r recipe.Resolver, asset catalog.Asset, arch catalog.Arch) (verify.Family, error) {
	kind := asset.Verify
	if asset.Kernel != nil {
		kind = "kernel"
	}
	d := declared{r, asset, arch}
	switch kind {
	case "kernel":
		return d.kernel()
	case "nydus":
		return d.nydus()
	case "ovmf":
		version, err := d.pin("EDK2_VERSION")
		if err != nil {
			return nil, err
		}
		return ovmf.New(asset.Name, string(arch), version)
	case "qemu":
		version, err := d.pin("QEMU_VERSION")
		if err != nil {
			return nil, err
		}
		return qemu.New(r.Tree, asset.Folder, string(arch), version, asset.Options["QEMU_SUFFIX"])
	}
	return nil, fmt.Errorf("nothing to check: %s declares no verify, which would be one of %s", asset.Pos, strings.Join(catalog.Kinds, ", "))
}

// declared is an asset of a tree.
type declared struct {
	recipe.Resolver
	asset catalog.Asset
	arch  catalog.Arch
}

// pin is the value of a pin of the asset.
func (d declared) pin(variable string) (string, error) {
	value, err := d.Versions.Pin(d.asset.Pins[variable])
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", d.asset.Pos, variable, err)
	}
	return value, nil
}

func (d declared) kernel() (verify.Family, error) {
	k := kernel.Kernel{Arch: string(d.arch), Suffix: d.asset.Kernel.Suffix, Modules: slices.Contains(d.asset.Outputs, kernel.ModulesOutput)}
	var err error
	if k.Plan, err = d.KernelPlan(d.asset, d.arch); err != nil {
		return nil, err
	}
	for _, secret := range slices.Sorted(maps.Keys(d.asset.Secrets)) {
		content, err := d.Tree.Content(d.asset.Folder + "/" + d.asset.Secrets[secret])
		if err != nil {
			return nil, fmt.Errorf("the certificate of the secret %s: %w", secret, err)
		}
		k.Certificate = content.Data
	}
	return k, nil
}

func (d declared) nydus() (verify.Family, error) {
	s := nydus.Snapshotter{Arch: string(d.arch)}
	var err error
	if s.Version, err = d.pin("NYDUS_SNAPSHOTTER_VERSION"); err != nil {
		return nil, err
	}
	s.Revision, err = d.pin("NYDUS_SNAPSHOTTER_COMMIT")
	return s, err
}
