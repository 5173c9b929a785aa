package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
)

type kernelConfigMenuOptions struct {
	buildAssetOptions
	folder string
}

func kernelConfigMenuCmd(process Process, tree *treeOptions) *cobra.Command {
	o := kernelConfigMenuOptions{buildAssetOptions: buildAssetOptions{treeOptions: tree}}
	cmd := &cobra.Command{
		Use:   "menuconfig VARIANT",
		Short: "Open the kernel's own menu in the builder, and write what changes as a fragment",
		Long: `Configure a kernel in its builder as for a build, and open the kernel's own menu
(make menuconfig) on this terminal. What is saved there and differs becomes the
fragment kernel-configs/FOLDER/` + kconfig.MenuFile + `, which must not be there yet; its path
is printed. Options that follow from others are left out. Those that a fragment
requests already, with another value, are printed with their places, to be edited
there. Without a change, or without saving, nothing is written.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runKernelConfigMenu(cmd.Context(), process, o, args[0])
		},
	}
	kernelArchFlag(cmd, &o.arch)
	flags := cmd.Flags()
	flags.StringVar(&o.folder, "folder", "", "folder of kernel-configs/ for the fragment, such as debug or debug/arm64 (default: the kernel's last one)")
	o.engineOptions.flags(flags)
	o.cacheOptions.flags(flags, process)
	flags.StringVar(&o.place, "place", "", "take sources from the place of this name alone")
	sourceFlag(flags, &o.sources)
	return cmd
}

// person returns the terminal that a person uses the program from, which the
// caller closes. Stdout may go elsewhere: it gets the path of the fragment.
func (p Process) person() (engine.Terminal, error) {
	const what = "the menu needs a terminal: run this in one, without redirecting stdin"
	if in, ok := p.Stdin.(*os.File); !ok || !term.IsTerminal(int(in.Fd())) {
		return engine.Terminal{}, errors.New(what)
	}
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return engine.Terminal{}, fmt.Errorf("%s: %w", what, err)
	}
	return engine.Terminal{File: file, Type: p.Getenv("TERM")}, nil
}

func runKernelConfigMenu(ctx context.Context, process Process, o kernelConfigMenuOptions, name string) error {
	tree, err := o.load(process.Stderr)
	if err != nil {
		return err
	}
	k, err := kernel(tree.catalog, tree.files(), name, o.arch)
	if err != nil {
		return err
	}
	folders := k.asset.Kernel.Folders(k.arch)
	if o.folder == "" {
		o.folder = folders[len(folders)-1]
	}
	file, err := kconfig.MenuFragment(tree.files(), o.folder, folders, k.arch.Kernel())
	if err != nil {
		return usage(err)
	}
	if err := checkSources(tree, []string{name}, k.arch, o.sources); err != nil {
		return err
	}
	terminal, err := process.person()
	if err != nil {
		return err
	}
	defer terminal.File.Close()
	saved, err := o.menu(ctx, process, tree, k, terminal)
	if err != nil {
		return err
	}
	if string(saved.Before) == string(saved.After) {
		fmt.Fprintln(process.Stderr, "nothing was changed, so nothing is written")
		return nil
	}
	changes, err := k.set.Changes(kconfig.Edited(saved))
	if err != nil {
		return err
	}
	return writeChanges(process, tree, k, file, changes)
}

// menu has a person change the configuration of a kernel.
func (o kernelConfigMenuOptions) menu(ctx context.Context, process Process, tree *tree, k kernelOf, terminal engine.Terminal) (engine.Saved, error) {
	// A configuration is made without those.
	k.asset.Dependencies = nil
	plan, err := tree.resolver.Resolve(k.asset, k.arch, nil)
	if err != nil {
		return engine.Saved{}, err
	}
	cache, err := o.cacheDir()
	if err != nil {
		return engine.Saved{}, err
	}
	report := process.reporter()
	defer report.Close()
	tiered, err := o.tiered(process, cache, report)
	if err != nil {
		return engine.Saved{}, err
	}
	// The log of the kernel's build stays.
	o.output = filepath.Join(tree.root, "build", "menuconfig")
	b := &builder{options: o.buildAssetOptions, process: process, root: tree.root, cache: cache, report: report, tiered: tiered}
	return b.container("", "logs").Menu(ctx, plan, terminal)
}

// writeChanges writes the fragment, and tells what is left to be done by hand.
func writeChanges(process Process, tree *tree, k kernelOf, file string, changes kconfig.Changes) error {
	for _, c := range changes.Contradicted {
		fmt.Fprintf(process.Stderr, "%s requests %s, the menu has %s: edit that line\n",
			c.Pos(), kconfig.Statement(c.Name, c.Value), kconfig.Statement(c.Name, c.Menu))
	}
	if len(changes.Chosen)+len(changes.Opened) == 0 {
		fmt.Fprintln(process.Stderr, "no option is left for a fragment, so none is written")
		return nil
	}
	fragment := changes.Fragment(k.asset.Name + " for " + string(k.arch))
	target := filepath.Join(tree.root, filepath.FromSlash(file))
	if err := createFragment(target, fragment); err != nil {
		// What a person chose must not be lost.
		_, printing := process.Stdout.Write(fragment)
		return errors.Join(fmt.Errorf("writing %s, so what was chosen is printed instead: %w", file, err), printing)
	}
	fmt.Fprintf(process.Stderr, "a fragment is written: give its options their reason, raise %s, and run `pipelines check`\n", kconfig.VersionFile)
	_, err := fmt.Fprintln(process.Stdout, relative(target))
	return err
}

// createFragment writes a file that is not there yet.
func createFragment(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}
