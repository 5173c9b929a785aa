package cli

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// repository loads the repository of this test and its kernels.
func repository(t *testing.T) (*workspace.Workspace, map[string]kernelOf) {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := workspace.Open(t.Context(), workspace.Options{Root: root, CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	listed, err := listKernels(tree)
	if err != nil {
		t.Fatal(err)
	}
	kernels := map[string]kernelOf{}
	for _, k := range listed {
		name := k.Variant + "@" + string(k.Arch)
		if kernels[name], err = kernel(tree, k.Variant, string(k.Arch)); err != nil {
			t.Fatal(err)
		}
	}
	return tree, kernels
}

// TestForbiddenOptions adds one option to the final configuration of each kernel.
func TestForbiddenOptions(t *testing.T) {
	_, kernels := repository(t)
	for name, k := range kernels {
		folders := k.asset.Kernel.Folders(k.arch)
		final := string(k.plan.Requested.Merged())
		if err := k.plan.CheckForbidden([]byte(final)); err != nil {
			t.Errorf("%s requests what it must not have: %v", name, err)
		}
		debug := slices.Contains(folders, kconfig.DebugFolder)
		confidential := slices.Contains(folders, "confidential") || slices.Contains(folders, "cca")
		for option, forbidden := range map[string]bool{
			"CONFIG_HW_RANDOM_VIRTIO": confidential,
			"CONFIG_KPROBES":          !debug,
			"CONFIG_DEBUG_INFO_BTF":   !debug,
			"CONFIG_PTDUMP_DEBUGFS":   !debug,
			"CONFIG_KASAN_GENERIC":    !debug,
			"CONFIG_KMSAN":            !debug,
			"CONFIG_DEBUG_FS":         false,
			"CONFIG_HAVE_KPROBES":     false,
		} {
			if err := k.plan.CheckForbidden([]byte(final + option + "=y\n")); (err != nil) != forbidden {
				t.Errorf("%s with %s: got %v, want an error: %v", name, option, err, forbidden)
			}
		}
	}
}

// TestExceptionsAreForSomeKernel finds exceptions that no build would report as stale.
func TestExceptionsAreForSomeKernel(t *testing.T) {
	tree, kernels := repository(t)
	all, err := kconfig.LoadExceptions(tree.Files())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		used := false
		for _, k := range kernels {
			for _, applying := range k.plan.Exceptions[e.Option] {
				requested := func(o kconfig.Option) bool { return o.Name == e.Option }
				used = used || applying.Line == e.Line && slices.ContainsFunc(k.plan.Requested.Options, requested)
			}
		}
		if !used {
			t.Errorf("%s:%d: no kernel requests %s where this applies", kconfig.ExceptionsFile, e.Line, e.Option)
		}
	}
}

// TestFragmentsSayWhy wants every paragraph of a fragment to begin with a comment.
func TestFragmentsSayWhy(t *testing.T) {
	tree, _ := repository(t)
	paragraphs := 0
	err := fs.WalkDir(tree.Files(), kconfig.Root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(file, ".conf") {
			return err
		}
		data, err := fs.ReadFile(tree.Files(), file)
		if err != nil {
			return err
		}
		for _, paragraph := range strings.Split(strings.TrimSpace(string(data)), "\n\n") {
			paragraphs++
			if !strings.HasPrefix(paragraph, "# ") || strings.HasPrefix(paragraph, "# CONFIG_") {
				t.Errorf("%s: a paragraph does not begin with a comment that gives its reason: %.60q", file, paragraph)
			}
		}
		return nil
	})
	if err != nil || paragraphs == 0 {
		t.Error(fmt.Errorf("%d paragraphs: %w", paragraphs, err))
	}
}
