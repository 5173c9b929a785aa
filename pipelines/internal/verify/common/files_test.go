package common_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// line returns the verdict and what the check saw.
func line(c report.Check) string { return string(c.Verdict) + " " + c.Saw }

// TestTraces guards against what a build leaves in files, at any place in them.
func TestTraces(t *testing.T) {
	const window = 256 << 10
	long := strings.Repeat("x", window-7) + "\n"
	for title, test := range map[string]struct{ content, want string }{
		"none":               {"/opt/kata/build/x /lib/modules/%s/build/vmlinux ../build/x", "passed files without"},
		"path":               {"\x00/build/linux/fs/dax.c\x00", "failed opt/kata/bin/program contains /build/linux/fs/dax.c"},
		"at the start":       {"/build/linux/fs/dax.c", "failed opt/kata/bin/program contains /build/linux/fs/dax.c"},
		"of a source":        {"in /kata/sources/linux", "failed opt/kata/bin/program contains /kata/sources/linux"},
		"across windows":     {long + "/build/linux/fs/dax.c\n", "failed opt/kata/bin/program contains /build/linux/fs/dax.c"},
		"in a later window":  {strings.Repeat(long, 3) + "/build/linux/fs/dax.c\n", "failed opt/kata/bin/program contains /build/linux/fs/dax.c"},
		"each once":          {strings.Repeat("/build/x\n", 3) + long + "/build/x\n", "failed opt/kata/bin/program contains /build/x"},
		"a few of many":      {"/build/1 /build/2 /build/3 /build/4", "failed opt/kata/bin/program contains /build/1, /build/2, /build/3"},
		"crate":              {"at /root/.cargo/registry/src/x.rs", "failed opt/kata/bin/program contains /root/.cargo/registry/src/x.rs"},
		"module":             {"\x00/root/go/pkg/mod/x.go", "failed opt/kata/bin/program contains /root/go/pkg/mod/x.go"},
		"home":               {"root:x:0:0:root:/root:/bin/sh unspecified/root/aux", "passed files without"},
		"host":               {"root@builder-17 ", "failed opt/kata/bin/program contains builder-17"},
		"part of a name":     {"builder-170 my-builder-17", "passed files without"},
		"container":          {"root@buildkitsandbox\n", "failed opt/kata/bin/program contains buildkitsandbox"},
		"without a boundary": {"x/build/y", "passed files without"},
	} {
		t.Run(title, func(t *testing.T) {
			h := verifytest.NoBoot
			h.Name = "builder-17"
			r := verifytest.Run(t, proof(catalog.Checks{}), verify.Artifact{Tarball: verifytest.Tree{program: test.content}.Pack(t)}, h)
			if got := line(verifytest.Find(t, r, "build-paths")); !strings.HasPrefix(got, test.want) || strings.Count(got, "/build/x") > 1 {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Paths of a build elsewhere are not this tree's concern.
func TestImported(t *testing.T) {
	p := proof(catalog.Checks{})
	p.Asset.Import = &catalog.Import{}
	r := verifytest.Run(t, p, verify.Artifact{Tarball: verifytest.Tree{program: "/build/x"}.Pack(t)}, verifytest.NoBoot)
	if got := line(verifytest.Find(t, r, "build-paths")); !strings.HasPrefix(got, "skipped imported: ") {
		t.Error(got)
	}
	if required := p.Asset.RequiredChecks(true); slices.Contains(required, "build-paths") || !slices.Contains(required, "pie") {
		t.Errorf("required: %s", required)
	}
}

// A name that is an ordinary word would be found in any program.
func TestOrdinaryName(t *testing.T) {
	h := verifytest.NoBoot
	h.Name = "debian"
	r := verifytest.Run(t, proof(catalog.Checks{}), verify.Artifact{Tarball: verifytest.Tree{program: "debian"}.Pack(t)}, h)
	if got := line(verifytest.Find(t, r, "build-paths")); !strings.HasPrefix(got, "passed") {
		t.Error(got)
	}
}

func TestHostSafe(t *testing.T) {
	files := verifytest.Tree{program: tidy, "opt/other/file": "data", "usr/bin/agent": tidy}
	r := verifytest.Run(t, proof(except("host-safe", "usr")), verify.Artifact{Tarball: files.Pack(t)}, verifytest.NoBoot)
	want := "failed opt/other is outside opt/kata\nopt/other/file is outside opt/kata"
	if got := line(verifytest.Find(t, r, "host-safe")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r = verifytest.Run(t, proof(except("host-safe", "usr", "opt/other")), verify.Artifact{Tarball: files.Pack(t)}, verifytest.NoBoot)
	want = "passed members in opt/kata: 4\nexcept opt/other: why\nexcept usr: why\nexcept usr/bin: why\nexcept opt/other/file: why\nexcept usr/bin/agent: why"
	if got := line(verifytest.Find(t, r, "host-safe")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSize(t *testing.T) {
	tarball := verifytest.Tree{program: tidy}.Pack(t)
	for budget, want := range map[catalog.Bytes]string{
		0: "skipped assets/tiny/assets.yaml:12 declares no budget", 100: "failed ", 1 << 20: "passed ",
	} {
		p := proof(catalog.Checks{})
		p.Asset.Budget = budget
		r := verifytest.Run(t, p, verify.Artifact{Tarball: tarball}, verifytest.NoBoot)
		if got := line(verifytest.Find(t, r, "size")); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A damaged tarball fails, and nothing else is said about it.
func TestWhole(t *testing.T) {
	good := verifytest.Tree{program: tidy}.Pack(t)
	data, err := os.ReadFile(good)
	require.NoError(t, err)
	data[len(data)/3] ^= 0xff
	bad := filepath.Join(t.TempDir(), "bad.tar.zst")
	require.NoError(t, os.WriteFile(bad, data, 0o644))
	for title, a := range map[string]verify.Artifact{
		"tarball": {Tarball: bad}, "output": {Tarball: good, Outputs: map[string]string{"modules": bad}},
	} {
		r := verifytest.Run(t, proof(catalog.Checks{}), a, verifytest.NoBoot)
		if len(r.Checks) != 1 || r.Checks[0].Name != "whole" || r.Checks[0].Verdict != report.Failed {
			t.Errorf("%s: got %+v", title, r.Checks)
		}
	}
	r := verifytest.Run(t, proof(catalog.Checks{}), verify.Artifact{Tarball: good, Outputs: map[string]string{"modules": bad + ".none"}}, verifytest.NoBoot)
	if got, want := line(verifytest.Find(t, r, "whole")), "passed 4 members, as its index says; not looked at, because they are not there: modules"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The files of secondary tarballs are checked, but they land in guests.
func TestOutputs(t *testing.T) {
	modules := verifytest.Tree{"lib/modules/x.ko": verifytest.ELF{Sections: []string{".debug_info"}}.String() + "/build/linux"}
	a := verify.Artifact{Tarball: verifytest.Tree{program: tidy}.Pack(t), Outputs: map[string]string{"modules": modules.Pack(t)}}
	r := verifytest.Run(t, proof(catalog.Checks{}), a, verifytest.NoBoot)
	for name, want := range map[string]string{
		"architecture": "passed ELF files: 2", "debug-sections": "failed lib/modules/x.ko has ", "host-safe": "passed members in opt/kata: 4", "build-paths": "failed lib/modules/x.ko contains /build/linux",
	} {
		if got := line(verifytest.Find(t, r, name)); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestRuns(t *testing.T) {
	const script = "#!/bin/sh\necho starting >&2\necho \"program 1.2.3 $*\"\n"
	good := catalog.Run{File: program, Args: []string{"--version"}, Want: `^program ${VERSION} --version$`}
	other := catalog.Run{File: program, Want: "^program 2"}
	for title, test := range map[string]struct {
		content string
		runs    []catalog.Run
		want    string
	}{
		"none":          {script, nil, "skipped assets/tiny/assets.yaml:12 declares no program to run"},
		"good":          {script, []catalog.Run{good}, "passed opt/kata/bin/program --version: program 1.2.3 --version"},
		"two":           {script, []catalog.Run{good, {File: program, Want: "3"}}, "passed opt/kata/bin/program --version: program 1.2.3 --version\nopt/kata/bin/program: program 1.2.3"},
		"lines":         {script, []catalog.Run{{File: program, Want: `starting\nprogram`}}, "passed opt/kata/bin/program: prints "},
		"other version": {script, []catalog.Run{good, other}, "failed opt/kata/bin/program: it prints \"starting\\nprogram 1.2.3\": want (?m)^program 2"},
		"fails":         {"#!/bin/sh\necho 'no such option'; exit 3\n", []catalog.Run{good}, "failed opt/kata/bin/program --version: exit status 3\nno such option"},
		"hangs":         {"#!/bin/sh\nexec sleep 60\n", []catalog.Run{good}, "failed opt/kata/bin/program --version: it has not ended after 300ms"},
		"never stops":   {"#!/bin/sh\nexec yes\n", []catalog.Run{good}, "failed opt/kata/bin/program --version: it prints more than 1048576 bytes\ny\ny\n"},
		"long":          {"#!/bin/sh\nyes | head -c 100000\n", []catalog.Run{good}, "failed opt/kata/bin/program --version: it prints \"y\\ny"},
		"missing":       {script, []catalog.Run{{File: "opt/kata/bin/other", Want: "x"}}, "failed opt/kata/bin/other: it is not a file of the tarball"},
		"no program":    {"data", []catalog.Run{good}, "failed opt/kata/bin/program --version: it does not start: exec format error"},
	} {
		t.Run(title, func(t *testing.T) {
			p := proof(catalog.Checks{Runs: test.runs})
			p.Arch = native(t)
			h := verifytest.Host(t, nil)
			h.Timeout = 300 * time.Millisecond
			r := verifytest.Run(t, p, verify.Artifact{Tarball: verifytest.Tree{program: test.content}.Pack(t, program)}, h)
			if got := line(verifytest.Find(t, r, "runs")); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Another distribution has other libraries than those that a program was linked with.
func TestRunsWithLibraries(t *testing.T) {
	for title, test := range map[string]struct{ loader, want string }{
		"found":      {"echo libc.so.6", "failed opt/kata/bin/program: it does not start: "},
		"not found":  {`echo "$2: version GLIBC_2.99 not found"`, "skipped this machine has other libraries: "},
		"no program": {"exit 127", "skipped this machine cannot load opt/kata/bin/program: exit status 127"},
		"no listing": {"sleep 60", "skipped this machine cannot load opt/kata/bin/program: it has not ended after 300ms"},
	} {
		h := verifytest.Host(t, map[string]string{"ld.so": test.loader})
		h.Timeout = 300 * time.Millisecond
		content := verifytest.ELF{Interpreter: filepath.Join(h.Tools, "ld.so")}.String()
		p := proof(catalog.Checks{Runs: []catalog.Run{{File: program, Want: "x"}}})
		p.Arch = native(t)
		r := verifytest.Run(t, p, verify.Artifact{Tarball: verifytest.Tree{program: content}.Pack(t, program)}, h)
		if got := line(verifytest.Find(t, r, "runs")); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %q, want %q", title, got, test.want)
		}
	}
}

func native(t *testing.T) catalog.Arch {
	t.Helper()
	arch, err := catalog.ParseArch(runtime.GOARCH)
	if err != nil {
		t.Skip(err)
	}
	return arch
}

// Programs of another architecture need an emulator, which has none of its libraries.
func TestRunsElsewhere(t *testing.T) {
	arch := catalog.AArch64
	if native(t) == arch {
		arch = catalog.X86_64
	}
	p := proof(catalog.Checks{Runs: []catalog.Run{{File: program, Args: []string{"--version"}, Want: "${VERSION}"}}})
	p.Arch = arch
	dynamic := verifytest.ELF{Interpreter: "/lib/ld.so"}.String()
	for title, test := range map[string]struct {
		tools   map[string]string
		content string
		want    string
	}{
		"emulator":    {map[string]string{"qemu-" + string(arch): `echo "1.2.3 with ${1##*/} $2"`}, tidy, "passed opt/kata/bin/program --version: 1.2.3 with program --version"},
		"no emulator": {nil, tidy, "skipped this machine does not run programs for " + string(arch) + ": apt-get install qemu-user"},
		"libraries":   {map[string]string{"qemu-" + string(arch): "echo 1.2.3"}, dynamic, "skipped this machine has no libraries for " + string(arch)},
	} {
		r := verifytest.Run(t, p, verify.Artifact{Tarball: verifytest.Tree{program: test.content}.Pack(t, program)}, verifytest.Host(t, test.tools))
		if got := line(verifytest.Find(t, r, "runs")); got != test.want {
			t.Errorf("%s: got %q, want %q", title, got, test.want)
		}
	}
	r := verifytest.Run(t, p, verify.Artifact{Tarball: verifytest.Tree{program: tidy}.Pack(t)}, verifytest.NoBoot)
	if got, want := line(verifytest.Find(t, r, "runs")), "skipped "+verifytest.NoBoot.Skip; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
