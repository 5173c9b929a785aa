package kernel

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage/kimagetest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

const (
	share   = "opt/kata/share/kata-containers/"
	version = "6.18.15-188-debug"
	config  = "CONFIG_A=y\nCONFIG_IKCONFIG=y\nCONFIG_IKCONFIG_PROC=y\nCONFIG_DEBUG_INFO_BTF=y\nCONFIG_KPROBES=y\nCONFIG_CGROUP_BPF=y\nCONFIG_HW_RANDOM_VIRTIO=y\n# CONFIG_B is not set\n"
	// banner is at this address in the image, and in System.map.
	banner = "Linux version 6.18.15 (kata@kata-containers) #1 SMP\n"
	// notes are a build ID, the bytes "id".
	notes   = "\x04\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00GNU\x00id\x00\x00"
	symbols = "0000000000001000 D linux_banner\n0000000000002000 T start_kernel\n"
)

type tree = verifytest.Tree

func compress(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	require.NoError(t, w.Close())
	return out.String()
}

// vmlinux is a kernel with a configuration and types in it.
func vmlinux(t *testing.T, config string, extra ...kimagetest.Section) string {
	t.Helper()
	sections := []kimagetest.Section{
		{Name: ".rodata", Address: 0x1000, Data: []byte(banner + "IKCFG_ST" + compress(t, config) + "IKCFG_ED")},
		{Name: ".notes", Address: 0x8000, Data: []byte(notes)},
	}
	return string(kimagetest.ELF("x86_64", append(sections, extra...)...))
}

func btfSection() kimagetest.Section { return kimagetest.Section{Name: ".BTF", Data: kimagetest.BTF()} }

// good is the tarball of a good kernel. Content that begins with "-> " is a link.
func good(t *testing.T) tree {
	return tree{
		share + "vmlinuz-" + version:      string(kimagetest.BzImage("6.18.15")),
		share + "vmlinux-" + version:      vmlinux(t, config, btfSection()),
		share + "config-" + version:       config,
		share + "System.map-" + version:   symbols,
		share + "vmlinuz-debug.container": "-> vmlinuz-" + version,
		share + "vmlinux-debug.container": "-> vmlinux-" + version,
	}
}

func with(files tree, name, content string) tree {
	files[share+name] = content
	return files
}

func without(files tree, names ...string) tree {
	for _, name := range names {
		delete(files, share+name)
	}
	return files
}

// requested loads fragments that are given as one text.
func requested(t *testing.T, fragment string) *kconfig.Set {
	t.Helper()
	set, err := kconfig.Load(fstest.MapFS{
		"kernel-configs/common/a.conf": {Data: []byte(fragment)},
		"kernel-configs/x86_64/b.conf": {Data: []byte("# none\n")},
	}, []string{"common"}, "x86_64")
	require.NoError(t, err)
	return set
}

func debugKernel(t *testing.T) Kernel {
	t.Helper()
	return Kernel{
		Arch: "x86_64", Suffix: "debug",
		Plan: &kconfig.Plan{
			Arch: "x86_64", Version: "v6.18.15", ConfigVersion: 188, Requested: requested(t, "CONFIG_A=y\nCONFIG_B=n\n"),
			Forbidden: []kconfig.Option{{Name: "CONFIG_DEBUG_FS", Value: "y", Path: "kernel-configs/debug/c.conf", Line: 7}},
		},
	}
}

// look verifies a kernel.
func look(t *testing.T, k Kernel, files tree, h host.Host) *report.Report {
	t.Helper()
	return verifytest.Run(t, k, verify.Artifact{Asset: "kernel-debug", Arch: k.Arch, Tarball: files.Pack(t)}, h)
}

func TestGoodKernel(t *testing.T) {
	r := look(t, debugKernel(t), good(t), verifytest.NoBoot)
	var got strings.Builder
	for _, check := range r.Checks {
		got.WriteString(string(check.Verdict) + " " + check.Name + ": " + check.Saw + "\n")
	}
	want := `passed members: 4 files and 2 links below opt/kata/share/kata-containers
passed links: vmlinux-debug.container -> vmlinux-6.18.15-188-debug, vmlinuz-debug.container -> vmlinuz-6.18.15-188-debug
passed vmlinuz: x86 bzImage for x86_64, release 6.18.15, 10240 bytes
passed vmlinux: ELF for x86_64, release 6.18.15, `
	if !strings.HasPrefix(got.String(), want) {
		t.Errorf("got\n%s\nwant it to begin with\n%s", got.String(), want)
	}
	want = `passed embedded config: equals the config file, 161 bytes
passed requested options: 2 as requested, 0 excepted
passed forbidden options: none of 1 that belong to the debug kernel, none of those in 0 rules
passed BTF: 2 types, task_struct has 4 bytes and pid at 0
passed System.map: 2 symbols, linux_banner at 0x1000 as in vmlinux
skipped boot: not in this test
`
	if !strings.HasSuffix(got.String(), want) {
		t.Errorf("got\n%s\nwant it to end with\n%s", got.String(), want)
	}
	if r.Err() != nil || r.Passed != 9 || r.Skipped != 1 {
		t.Errorf("%d passed, %d skipped, %v", r.Passed, r.Skipped, r.Err())
	}
}

func TestBadKernels(t *testing.T) {
	plain := "CONFIG_A=y\n# CONFIG_B is not set\n"
	for name, test := range map[string]struct {
		files   tree
		check   string
		verdict report.Verdict
		saw     string
	}{
		"missing member": {without(good(t), "System.map-"+version), "members", report.Failed, "System.map-6.18.15-188-debug is missing"},
		"more members":   {with(good(t), "vmlinuz.container", "-> vmlinuz-"+version), "members", report.Failed, "vmlinuz.container does not belong to the asset"},
		"elsewhere":      {with(good(t), "../../bin/x", "x"), "members", report.Failed, "./opt/kata/bin/x does not belong"},
		"empty member":   {with(good(t), "config-"+version, ""), "members", report.Failed, "is empty"},
		"file for link":  {with(good(t), "vmlinuz-debug.container", "x"), "members", report.Failed, "want a link to vmlinuz-6.18.15-188-debug"},
		"dangling link":  {with(good(t), "vmlinux-debug.container", "-> vmlinux-6.18.14-188-debug"), "links", report.Failed, "which is not in the tarball"},
		"crossed link":   {with(good(t), "vmlinux-debug.container", "-> vmlinuz-"+version), "links", report.Failed, "want vmlinux-6.18.15-188-debug"},

		"truncated vmlinuz": {with(good(t), "vmlinuz-"+version, string(kimagetest.BzImage("6.18.15")[:5000])), "vmlinuz", report.Failed, "cut short: it has 5000 bytes and needs 10240"},
		"garbage vmlinuz":   {with(good(t), "vmlinuz-"+version, "hello"), "vmlinuz", report.Failed, "not a kernel image"},
		"vmlinuz of arm":    {with(good(t), "vmlinuz-"+version, string(kimagetest.ARM64(banner))), "vmlinuz", report.Failed, "another architecture: arm64 Image for aarch64, want x86_64"},
		"ELF as vmlinuz":    {with(good(t), "vmlinuz-"+version, vmlinux(t, config)), "vmlinuz", report.Failed, "the format is ELF: hypervisors want x86 bzImage"},
		"another release":   {with(good(t), "vmlinuz-"+version, string(kimagetest.BzImage("6.18.14"))), "vmlinuz", report.Failed, "the release is 6.18.14: want 6.18.15, the pin v6.18.15"},
		"no vmlinuz":        {without(without(good(t), "vmlinuz-"+version), "vmlinuz-debug.container"), "vmlinuz", report.Skipped, "not in the tarball"},

		"other config":     {with(good(t), "vmlinux-"+version, vmlinux(t, "CONFIG_A=y\nCONFIG_X=y\n", btfSection())), "embedded config", report.Failed, `line 2 is "CONFIG_X=y" in vmlinux and "CONFIG_IKCONFIG=y" in the file`},
		"no IKCONFIG":      {with(with(good(t), "config-"+version, plain), "vmlinux-"+version, string(kimagetest.ELF("x86_64"))), "embedded config", report.Skipped, "CONFIG_IKCONFIG is off"},
		"IKCONFIG missing": {with(good(t), "vmlinux-"+version, string(kimagetest.ELF("x86_64", btfSection()))), "embedded config", report.Failed, "there is no configuration in vmlinux"},
		"dropped option":   {with(good(t), "config-"+version, "CONFIG_B=y\n"), "requested options", report.Failed, "kernel-configs/common/a.conf:1: CONFIG_A: wanted y"},
		"leaked option":    {with(good(t), "config-"+version, config+"CONFIG_DEBUG_FS=y\n"), "forbidden options", report.Failed, "kernel-configs/debug/c.conf:7: CONFIG_DEBUG_FS=y is for debug kernels only"},
		"garbage config":   {with(good(t), "config-"+version, "hello\n"), "requested options", report.Failed, "is it a .config?"},

		"BTF missing": {with(good(t), "vmlinux-"+version, vmlinux(t, config)), "BTF", report.Failed, "vmlinux has no .BTF"},
		"BTF leaked":  {with(good(t), "config-"+version, plain), "BTF", report.Failed, "CONFIG_DEBUG_INFO_BTF is off"},
		"BTF absent":  {with(with(good(t), "config-"+version, plain), "vmlinux-"+version, vmlinux(t, plain)), "BTF", report.Passed, "absent, as CONFIG_DEBUG_INFO_BTF is off"},
		"BTF garbage": {with(good(t), "vmlinux-"+version, vmlinux(t, config, kimagetest.Section{Name: ".BTF", Data: []byte("hello")})), "BTF", report.Failed, "parsing .BTF"},
		"BTF cut":     {with(good(t), "vmlinux-"+version, vmlinux(t, config, kimagetest.Section{Name: ".BTF", Data: kimagetest.BTF()[:70]})), "BTF", report.Failed, "parsing"},

		"symbols of another": {with(good(t), "System.map-"+version, "0000000000001001 D linux_banner\n"), "System.map", report.Failed, "belongs to another build"},
		"no symbols":         {with(good(t), "System.map-"+version, "0000000000001001 D something\n"), "System.map", report.Failed, "no linux_banner among 1 symbols"},
		"garbage symbols":    {with(good(t), "System.map-"+version, "hello\n"), "System.map", report.Failed, "line 1 is not a symbol"},
	} {
		t.Run(name, func(t *testing.T) {
			r := look(t, debugKernel(t), test.files, verifytest.NoBoot)
			check := verifytest.Find(t, r, test.check)
			if check.Verdict != test.verdict || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s\nwant %s with %q", check.Verdict, check.Saw, test.verdict, test.saw)
			}
			if (r.Err() != nil) != (r.Failed > 0) {
				t.Errorf("%d failed, and the error is %v", r.Failed, r.Err())
			}
		})
	}
}

func TestNoTarball(t *testing.T) {
	dir := t.TempDir()
	whole, err := os.ReadFile(good(t).Pack(t))
	require.NoError(t, err)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"garbage": {[]byte("hello, this is no tarball"), "reading "},
		"empty":   {nil, "reading "},
		"half":    {whole[:len(whole)/2], "reading "},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(path, test.data, 0o644))
			r, err := verify.Run(t.Context(), debugKernel(t), verify.Artifact{Tarball: path}, verifytest.NoBoot)
			if err != nil || r.Err() == nil || !strings.Contains(verifytest.Find(t, r, "whole").Saw, test.want+path+": ") {
				t.Errorf("got %v, %+v", err, r)
			}
		})
	}
	if _, err := verify.Run(t.Context(), debugKernel(t), verify.Artifact{Tarball: filepath.Join(dir, "none")}, verifytest.NoBoot); err == nil {
		t.Error("a missing tarball is no error")
	}
}

// TestSeparateELF guards against a debug kernel for aarch64 that can never pass:
// its raw vmlinux is what VMMs start, and the symbols are in vmlinux.elf next to it.
func TestSeparateELF(t *testing.T) {
	const config = config + "CONFIG_DEBUG_INFO=y\n"
	whole := func(notes string, debug ...kimagetest.Section) string {
		return string(kimagetest.ELF("aarch64", append(debug,
			kimagetest.Section{Name: ".rodata", Address: 0x1000, Data: []byte(banner + "IKCFG_ST" + compress(t, config) + "IKCFG_ED")},
			kimagetest.Section{Name: ".notes", Address: 0x8000, Data: []byte(notes)}, btfSection())...))
	}
	symbols := []kimagetest.Section{{Name: ".symtab", Unmapped: true}, {Name: ".debug_info", Unmapped: true, Data: []byte("debug")}}
	raw := string(kimagetest.ARM64(banner + notes))
	for name, test := range map[string]struct {
		elf, config string
		check       string
		verdict     report.Verdict
		saw         string
	}{
		"good":       {whole(notes, symbols...), config, "vmlinux.elf", report.Passed, "ELF for aarch64, release 6.18.15"},
		"members":    {whole(notes, symbols...), config, "members", report.Passed, "5 files and 2 links"},
		"types":      {whole(notes, symbols...), config, "BTF", report.Passed, "task_struct"},
		"addresses":  {whole(notes, symbols...), config, "System.map", report.Passed, "linux_banner at 0x1000"},
		"missing":    {"", config, "members", report.Failed, "vmlinux.elf-6.18.15-188-debug is missing"},
		"unasked":    {whole(notes, symbols...), strings.Replace(config, "CONFIG_DEBUG_INFO=y", "", 1), "members", report.Failed, "vmlinux.elf-6.18.15-188-debug does not belong"},
		"stripped":   {whole(notes), config, "vmlinux.elf", report.Failed, "it has no .symtab for debuggers\nit has no .debug_info"},
		"other":      {whole(strings.Replace(notes, "id", "ID", 1), symbols...), config, "vmlinux.elf", report.Failed, "vmlinux is another build"},
		"raw as elf": {raw, config, "vmlinux.elf", report.Failed, "the format is arm64 Image"},
	} {
		t.Run(name, func(t *testing.T) {
			files := with(with(with(good(t), "vmlinuz-"+version, raw), "vmlinux-"+version, raw), "config-"+version, test.config)
			if test.elf != "" {
				files = with(files, "vmlinux.elf-"+version, test.elf)
			}
			k := debugKernel(t)
			k.Arch = "aarch64"
			check := verifytest.Find(t, look(t, k, files, verifytest.NoBoot), test.check)
			if check.Verdict != test.verdict || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s\nwant %s with %q", check.Verdict, check.Saw, test.verdict, test.saw)
			}
		})
	}
}
