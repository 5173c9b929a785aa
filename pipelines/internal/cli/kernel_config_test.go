package cli

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// debugOnly matches the options that only the debug kernel may request, because they
// cost the guest time or let others look into it.
var debugOnly = regexp.MustCompile(`^CONFIG_(DEBUG_.*|.*_DEBUG(FS)?|KPROBE.*|UPROBE.*|F(UNCTION_.*)?TRACER?|FTRACE_.*|.*_TRACER|DYNAMIC_(FTRACE|DEBUG)|FPROBE.*|IKCONFIG.*|BPF_EVENTS|KALLSYMS_ALL|MAGIC_SYSRQ.*|STACKTRACE|BLK_DEV_IO_TRACE|SCHEDSTATS|GDB_.*|KGDB.*|KASAN.*|LOCKDEP|PROVE_.*|READABLE_ASM)$`)

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

// TestDebugOptionsStayInDebugKernels checks that options for debugging are in the debug
// folder, and that kernels without that folder do not request them.
func TestDebugOptionsStayInDebugKernels(t *testing.T) {
	_, kernels := repository(t)
	debug := map[string]string{} // options of the debug folder and their places
	for name, k := range kernels {
		for _, option := range k.plan.Requested.Options {
			if strings.HasPrefix(option.Path, kconfig.Root+"/"+kconfig.DebugFolder+"/") {
				debug[option.Name] = option.Pos()
			} else if debugOnly.MatchString(option.Name) {
				t.Errorf("%s: %s, which %s gets, belongs in the debug folder", option.Pos(), option.Name, name)
			}
		}
	}
	for _, name := range []string{"CONFIG_KPROBES", "CONFIG_FTRACE", "CONFIG_DEBUG_INFO_BTF", "CONFIG_DEBUG_FS", "CONFIG_IKCONFIG_PROC"} {
		if debug[name] == "" || !debugOnly.MatchString(name) {
			t.Errorf("the debug kernel does not request %s, or the pattern of this test does not match it", name)
		}
	}
	for name, k := range kernels {
		if slices.Contains(k.asset.Kernel.Folders(k.arch), kconfig.DebugFolder) {
			continue
		}
		for _, option := range k.plan.Requested.Options {
			if place := debug[option.Name]; place != "" {
				t.Errorf("%s: %s gets %s, which is for debugging at %s", option.Pos(), name, option.Name, place)
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
