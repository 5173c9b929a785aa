package cli

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// proof looks at a tarball.
type proof func(ctx context.Context, tarball string) (*verify.Report, error)

// proof returns the one that an asset declares; nil where there is none.
func (o verifyOptions) proof(ws *workspace.Workspace, asset catalog.Asset, arch catalog.Arch, note func(string)) (proof, error) {
	const grace = 15 * time.Second
	boot := verify.Boot{Root: ws.Root, LookPath: command.LookPath, Accelerator: o.accel, Timeout: o.timeout, Grace: grace, Note: note}
	if o.noBoot {
		boot.Skip = "asked not to: --no-boot"
	}
	if asset.Kernel != nil {
		kernel, err := kernelProof(ws, asset, arch)
		return func(ctx context.Context, tarball string) (*verify.Report, error) {
			kernel.Modules = o.modules
			if slices.Contains(asset.Outputs, "modules") && o.modules == "" {
				kernel.Modules = filepath.Join(filepath.Dir(tarball), build.OutputName(asset.Name, "modules"))
			}
			return kernel.Verify(ctx, tarball, boot)
		}, err
	}
	switch asset.Verify {
	case "ovmf":
		version, err := pin(ws, asset, "EDK2_VERSION")
		firmware := verify.OVMF{Asset: asset.Name, Arch: string(arch), Version: version}
		return func(ctx context.Context, tarball string) (*verify.Report, error) {
			return firmware.Verify(ctx, tarball, boot)
		}, err
	case "qemu":
		emulator, err := qemu(ws, asset, arch)
		run := verify.Emulation{Timeout: o.timeout, Note: note}
		if o.accel == "kvm" {
			run.Accelerator = o.accel
		}
		return func(ctx context.Context, tarball string) (*verify.Report, error) {
			return emulator.Verify(ctx, tarball, run)
		}, err
	case "nydus":
		return o.nydus(ws, asset, arch, boot)
	}
	return nil, nil
}

// pin is the value of one that the asset declares.
func pin(ws *workspace.Workspace, asset catalog.Asset, variable string) (string, error) {
	value, err := ws.Resolver.Versions.Pin(asset.Pins[variable])
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", asset.Pos, variable, err)
	}
	return value, nil
}

// qemu collects what the tree says of an emulator.
func qemu(ws *workspace.Workspace, asset catalog.Asset, arch catalog.Arch) (verify.QEMU, error) {
	version, err := pin(ws, asset, "QEMU_VERSION")
	if err != nil {
		return verify.QEMU{}, err
	}
	return verify.NewQEMU(asset.Name, string(arch), asset.Folder, version, asset.Options["QEMU_SUFFIX"], func(path string) ([]byte, error) {
		content, err := ws.Resolver.Tree.Content(path)
		return content.Data, err
	})
}

// kernelProof collects what the tree says of a guest kernel.
func kernelProof(ws *workspace.Workspace, asset catalog.Asset, arch catalog.Arch) (verify.Kernel, error) {
	k := verify.Kernel{Asset: asset.Name, Arch: string(arch), Suffix: asset.Kernel.Suffix}
	files := ws.Resolver.Tree
	var err error
	if k.Plan, err = ws.Resolver.KernelPlan(asset, arch); err != nil {
		return k, err
	}
	for _, secret := range slices.Sorted(maps.Keys(asset.Secrets)) {
		content, err := files.Content(asset.Folder + "/" + asset.Secrets[secret])
		if err != nil {
			return k, fmt.Errorf("the certificate of the secret %s: %w", secret, err)
		}
		k.Certificate = content.Data
	}
	return k, nil
}
