package verify_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kimage/kimagetest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

const (
	share   = "opt/kata/share/kata-containers/"
	version = "6.18.15-188-debug"
	config  = "CONFIG_A=y\nCONFIG_IKCONFIG=y\nCONFIG_IKCONFIG_PROC=y\nCONFIG_DEBUG_INFO_BTF=y\nCONFIG_KPROBES=y\nCONFIG_CGROUP_BPF=y\n# CONFIG_B is not set\n"
	// banner is at this address in the image, and in System.map.
	banner = "Linux version 6.18.15 (kata@kata-containers) #1 SMP\n"
	// notes are a build ID, the bytes "id".
	notes   = "\x04\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00GNU\x00id\x00\x00"
	symbols = "0000000000001000 D linux_banner\n0000000000002000 T start_kernel\n"
)

// tree is the files of a kernel's tarball.
type tree map[string]string

func compress(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
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

func types() kimagetest.Section { return kimagetest.Section{Name: ".BTF", Data: kimagetest.BTF()} }

// good is the tarball of a kernel that nothing is wrong with. What begins with
// "-> " is a link.
func good(t *testing.T) tree {
	return tree{
		share + "vmlinuz-" + version:      string(kimagetest.BzImage("6.18.15")),
		share + "vmlinux-" + version:      vmlinux(t, config, types()),
		share + "config-" + version:       config,
		share + "System.map-" + version:   symbols,
		share + "vmlinuz-debug.container": "-> vmlinuz-" + version,
		share + "vmlinux-debug.container": "-> vmlinux-" + version,
	}
}

func (files tree) with(name, content string) tree {
	files[share+name] = content
	return files
}

func (files tree) without(name string) tree {
	delete(files, share+name)
	return files
}

func (files tree) pack(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, is := strings.CutPrefix(content, "-> "); is {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "kata-static-kernel-debug.tar.zst")
	if _, err := archive.Pack(t.Context(), dir, out, archive.Options{Level: 1, ModTime: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	return out
}

// requested loads fragments that are given as one text.
func requested(t *testing.T, fragment string) *kconfig.Set {
	t.Helper()
	set, err := kconfig.Load(fstest.MapFS{
		"kernel-configs/common/a.conf": {Data: []byte(fragment)},
		"kernel-configs/x86_64/b.conf": {Data: []byte("# none\n")},
	}, []string{"common"}, "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func kernel(t *testing.T) verify.Kernel {
	return verify.Kernel{
		Asset: "kernel-debug", Arch: "x86_64", Suffix: "debug",
		Plan: &kconfig.Plan{
			Arch: "x86_64", Version: "v6.18.15", ConfigVersion: 188, Requested: requested(t, "CONFIG_A=y\nCONFIG_B=n\n"),
			Forbidden: []kconfig.Option{{Name: "CONFIG_DEBUG_FS", Value: "y", Path: "kernel-configs/debug/c.conf", Line: 7}},
		},
	}
}

var noBoot = verify.Boot{Skip: "not in this test"}

// find returns a check of the report.
func find(t *testing.T, report *verify.Report, name string) verify.Check {
	t.Helper()
	for _, check := range report.Checks {
		if check.Name == name {
			return check
		}
	}
	t.Fatalf("no check %q in %+v", name, report.Checks)
	return verify.Check{}
}

func TestGoodKernel(t *testing.T) {
	report, err := kernel(t).Verify(t.Context(), good(t).pack(t), noBoot)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, check := range report.Checks {
		got.WriteString(string(check.Verdict) + " " + check.Name + ": " + check.Saw + "\n")
	}
	want := `passed members: 4 files and 2 links below opt/kata/share/kata-containers
passed links: vmlinux-debug.container -> vmlinux-6.18.15-188-debug, vmlinuz-debug.container -> vmlinuz-6.18.15-188-debug
passed vmlinuz: x86 bzImage for x86_64, release 6.18.15, 10240 bytes
passed vmlinux: ELF for x86_64, release 6.18.15, `
	if !strings.HasPrefix(got.String(), want) {
		t.Errorf("got\n%s\nwant it to begin with\n%s", got.String(), want)
	}
	want = `passed embedded config: equals the config file, 135 bytes
passed requested options: 2 as requested, 0 excepted
passed forbidden options: none of 1 that belong to the debug kernel
passed BTF: 2 types, task_struct has 4 bytes and pid at 0
passed System.map: 2 symbols, linux_banner at 0x1000 as in vmlinux
skipped boot: not in this test
`
	if !strings.HasSuffix(got.String(), want) {
		t.Errorf("got\n%s\nwant it to end with\n%s", got.String(), want)
	}
	if report.Err() != nil || report.Passed != 9 || report.Skipped != 1 {
		t.Errorf("%d passed, %d skipped, %v", report.Passed, report.Skipped, report.Err())
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
		"missing member": {good(t).without("System.map-" + version), "members", verify.Failed, "System.map-6.18.15-188-debug is missing"},
		"more members":   {good(t).with("vmlinuz.container", "-> vmlinuz-"+version), "members", verify.Failed, "vmlinuz.container does not belong to the asset"},
		"elsewhere":      {good(t).with("../../bin/x", "x"), "members", verify.Failed, "./opt/kata/bin/x does not belong"},
		"empty member":   {good(t).with("config-"+version, ""), "members", verify.Failed, "is empty"},
		"file for link":  {good(t).with("vmlinuz-debug.container", "x"), "members", verify.Failed, "want a link to vmlinuz-6.18.15-188-debug"},
		"dangling link":  {good(t).with("vmlinux-debug.container", "-> vmlinux-6.18.14-188-debug"), "links", verify.Failed, "which is not in the tarball"},
		"crossed link":   {good(t).with("vmlinux-debug.container", "-> vmlinuz-"+version), "links", verify.Failed, "want vmlinux-6.18.15-188-debug"},

		"truncated vmlinuz": {good(t).with("vmlinuz-"+version, string(kimagetest.BzImage("6.18.15")[:5000])), "vmlinuz", verify.Failed, "cut short: it has 5000 bytes and needs 10240"},
		"garbage vmlinuz":   {good(t).with("vmlinuz-"+version, "hello"), "vmlinuz", verify.Failed, "no kernel image"},
		"vmlinuz of arm":    {good(t).with("vmlinuz-"+version, string(kimagetest.ARM64(banner))), "vmlinuz", verify.Failed, "another architecture: arm64 Image for aarch64, want x86_64"},
		"ELF as vmlinuz":    {good(t).with("vmlinuz-"+version, vmlinux(t, config)), "vmlinuz", verify.Failed, "the format is ELF: hypervisors want x86 bzImage"},
		"another release":   {good(t).with("vmlinuz-"+version, string(kimagetest.BzImage("6.18.14"))), "vmlinuz", verify.Failed, "the release is 6.18.14: want 6.18.15, the pin v6.18.15"},
		"no vmlinuz":        {good(t).without("vmlinuz-" + version).without("vmlinuz-debug.container"), "vmlinuz", verify.Skipped, "not in the tarball"},

		"other config":     {good(t).with("vmlinux-"+version, vmlinux(t, "CONFIG_A=y\nCONFIG_X=y\n", types())), "embedded config", verify.Failed, `line 2 is "CONFIG_X=y" in vmlinux and "CONFIG_IKCONFIG=y" in the file`},
		"no IKCONFIG":      {good(t).with("config-"+version, plain).with("vmlinux-"+version, string(kimagetest.ELF("x86_64"))), "embedded config", verify.Skipped, "CONFIG_IKCONFIG is off"},
		"IKCONFIG missing": {good(t).with("vmlinux-"+version, string(kimagetest.ELF("x86_64", types()))), "embedded config", verify.Failed, "there is no configuration in vmlinux"},
		"dropped option":   {good(t).with("config-"+version, "CONFIG_B=y\n"), "requested options", verify.Failed, "kernel-configs/common/a.conf:1: CONFIG_A: wanted y"},
		"leaked option":    {good(t).with("config-"+version, config+"CONFIG_DEBUG_FS=y\n"), "forbidden options", verify.Failed, "kernel-configs/debug/c.conf:7: CONFIG_DEBUG_FS=y is for debug kernels only"},
		"garbage config":   {good(t).with("config-"+version, "hello\n"), "requested options", verify.Failed, "is it a .config?"},

		"BTF missing": {good(t).with("vmlinux-"+version, vmlinux(t, config)), "BTF", verify.Failed, "vmlinux has no .BTF"},
		"BTF leaked":  {good(t).with("config-"+version, plain), "BTF", verify.Failed, "CONFIG_DEBUG_INFO_BTF is off"},
		"BTF absent":  {good(t).with("config-"+version, plain).with("vmlinux-"+version, vmlinux(t, plain)), "BTF", verify.Passed, "absent, as CONFIG_DEBUG_INFO_BTF is off"},
		"BTF garbage": {good(t).with("vmlinux-"+version, vmlinux(t, config, kimagetest.Section{Name: ".BTF", Data: []byte("hello")})), "BTF", verify.Failed, "parsing .BTF"},
		"BTF cut":     {good(t).with("vmlinux-"+version, vmlinux(t, config, kimagetest.Section{Name: ".BTF", Data: kimagetest.BTF()[:70]})), "BTF", verify.Failed, "parsing"},

		"symbols of another": {good(t).with("System.map-"+version, "0000000000001001 D linux_banner\n"), "System.map", verify.Failed, "of another build than vmlinux"},
		"no symbols":         {good(t).with("System.map-"+version, "0000000000001001 D something\n"), "System.map", verify.Failed, "no linux_banner among 1 symbols"},
		"garbage symbols":    {good(t).with("System.map-"+version, "hello\n"), "System.map", verify.Failed, "line 1 is no symbol"},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := kernel(t).Verify(t.Context(), test.files.pack(t), noBoot)
			if err != nil {
				t.Fatal(err)
			}
			check := find(t, report, test.check)
			if check.Verdict != test.verdict || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s\nwant %s with %q", check.Verdict, check.Saw, test.verdict, test.saw)
			}
			if (report.Err() != nil) != (report.Failed > 0) {
				t.Errorf("%d failed, and the error is %v", report.Failed, report.Err())
			}
		})
	}
}

func TestNoTarball(t *testing.T) {
	dir := t.TempDir()
	whole, err := os.ReadFile(good(t).pack(t))
	if err != nil {
		t.Fatal(err)
	}
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
			if err := os.WriteFile(path, test.data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := kernel(t).Verify(t.Context(), path, noBoot)
			if err == nil || !strings.Contains(err.Error(), test.want+path+": ") {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := kernel(t).Verify(t.Context(), filepath.Join(dir, "none"), noBoot); err == nil {
		t.Error("a missing tarball is no error")
	}
}
