package sizes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const mib = 1 << 20

// component makes one of members "path MiB", each four times as big unpacked.
func component(name string, members ...string) Component {
	c := Component{Name: name}
	for _, text := range members {
		var path string
		var size float64
		if _, err := fmt.Sscanf(text, "%s %g", &path, &size); err != nil {
			panic(err)
		}
		m := Member{Name: "opt/kata/" + path, Packed: int64(size * mib), Size: int64(4 * size * mib), SHA256: fmt.Sprintf("%x", size)}
		c.Members = append(c.Members, m)
		c.Size, c.Unpacked = c.Size+m.Packed, c.Unpacked+m.Size
	}
	return c
}

func released(version string, components ...Component) Report {
	r := Report{Format: reportFormat, Set: "kata-static", Arch: catalog.X86_64, Version: version, Limit: Limit, Own: 1000, Size: 1000, Components: components}
	for _, c := range components {
		r.Size, r.Unpacked = r.Size+c.Size, r.Unpacked+c.Unpacked
	}
	return r
}

// sample is a report as of a whole release, compared with the one before.
func sample(t *testing.T) Report {
	t.Helper()
	many := []string{"bin/qemu-system-x86_64 5.1"}
	for i := range 60 {
		many = append(many, fmt.Sprintf("share/kata-qemu/qemu/rom%02d.bin %g", i, 0.9/float64(i+1)))
	}
	kernel := func(suffix string, size, debug float64) Component {
		at := "share/kata-containers/"
		return component(strings.TrimSuffix("kernel"+suffix, "-"),
			fmt.Sprintf("%svmlinux-6.18.15-188%s %g", at, suffix, debug), fmt.Sprintf("%svmlinuz-6.18.15-188%s %g", at, suffix, size),
			fmt.Sprintf("%sSystem.map-6.18.15-188%s %g", at, suffix, 1.2), fmt.Sprintf("%sconfig-6.18.15-188%s 0.03", at, suffix))
	}
	image := func(suffix string, size float64) Component {
		at := "share/kata-containers/kata-ubuntu-noble"
		return component("rootfs-image"+suffix, fmt.Sprintf("%s%s.image %g", at, suffix, size), fmt.Sprintf("share/kata-containers/root_hash%s.txt 0.0003", suffix))
	}
	now := released("3.28.0",
		image("-nvidia-gpu-confidential", 412), image("-nvidia-gpu", 398), kernel("-debug", 14, 151), image("-confidential", 96), image("", 78), image("-mariner", 71),
		component("shim-v2", "bin/containerd-shim-kata-v2 21", "runtime-rs/bin/containerd-shim-kata-v2 18", "bin/kata-runtime 19", "share/defaults/kata-containers/configuration-qemu.toml 0.01"),
		kernel("-nvidia-gpu", 12, 18), kernel("", 9, 13), kernel("-dragonball-experimental", 6, 9),
		component("nydus-for-kata-tee", "nydus-for-kata-tee/bin/containerd-nydus-grpc 13.9", "nydus-for-kata-tee/bin/nydus-overlayfs 0.7"),
		component("nydus", "libexec/nydusd 7"), component("qemu", many...), component("qemu-snp-experimental", "bin/qemu-system-x86_64-snp-experimental 5"),
		component("cloud-hypervisor", "bin/cloud-hypervisor 3"), component("firecracker", "bin/firecracker 2.2", "bin/jailer 1.1"), component("virtiofsd", "libexec/virtiofsd 2"),
		component("ovmf", "share/ovmf/OVMF.fd 1"), component("ovmf-sev", "share/ovmf/AMDSEV.fd 0.6"), component("ovmf-tdx", "share/ovmf/OVMF.inteltdx.fd 0.8"),
	)
	now.Components[4].Budget, now.Components[4].BudgetPos = 80*mib, "assets/rootfs-image/assets.yaml:12"
	now.Components[2].Budget, now.Components[2].BudgetPos = 160*mib, "assets/kernel/assets.yaml:68"
	before := released("3.27.0",
		image("-nvidia-gpu-confidential", 371), image("-nvidia-gpu", 398), image("-confidential", 99.5), image("", 78),
		component("kernel", "share/kata-containers/vmlinux-6.12.47-173 12", "share/kata-containers/vmlinuz-6.12.47-173 8.8", "share/kata-containers/System.map-6.12.47-173 1.2"),
		component("stratovirt", "bin/stratovirt 3.3"), component("shim-v2", "bin/containerd-shim-kata-v2 20.5", "runtime-rs/bin/containerd-shim-kata-v2 18", "bin/kata-runtime 19"),
		component("nydus", "libexec/nydusd 7"),
		component("qemu", append([]string{"bin/qemu-system-x86_64 5.4"}, many[1:]...)...),
		component("firecracker", "bin/firecracker 2.1", "bin/jailer 1.1"), component("ovmf", "share/ovmf/OVMF.fd 1"),
	)
	require.NoError(t, now.Compare(before))
	return now
}

func TestReportGoldens(t *testing.T) {
	r := sample(t)
	page, err := r.HTML()
	require.NoError(t, err)
	require.Golden(t, "testdata/report/sample.html", page)
	require.Golden(t, "testdata/report/sample.md", []byte(r.Markdown()))
	if n := len(r.Markdown()); n > 65_536 {
		t.Errorf("the Markdown has %d bytes: a comment on GitHub holds 65,536", n)
	}
}

// outside is whatever a browser would fetch.
var outside = regexp.MustCompile(`(?i)https?:|//[a-z]|url\(|@import|<link|<img|<iframe|\ssrc=|\shref=`)

// TestPageStandsAlone holds for any names: one that looks like markup is text.
func TestPageStandsAlone(t *testing.T) {
	evil := `opt/kata/<script>alert(1)</script>"'&` + "`|*_[x](y)`" + `<img src=x onerror=alert(1)>`
	c := Component{Name: `<b>c</b>`, Size: 10, Members: []Member{{Name: evil, Size: 10, Packed: 10, Link: `"><svg onload=alert(1)>`}}}
	r := released(`1"><u>`, c)
	require.NoError(t, r.Compare(Report{Version: "</title><i>", Size: 1, Components: []Component{{Members: []Member{{Name: "a</td><s>", Packed: 1}}}}}))
	page, err := r.HTML()
	require.NoError(t, err)
	for _, tag := range []string{"<script>alert", "<img", "<b>c", "<u>", "<svg", "<i>\n", "<s>"} {
		if bytes.Contains(page, []byte(tag)) {
			t.Errorf("the page has %s from a name", tag)
		}
	}
	if !bytes.Contains(page, []byte("&lt;script&gt;alert(1)")) {
		t.Error("the page does not show the name")
	}
	if found := outside.Find(stripNames(page)); found != nil {
		t.Errorf("the page has %q, which leads outside", found)
	}
	if bytes.Contains(page, []byte("ZgotmplZ")) {
		t.Error("the page has a value that the template refused")
	}
	if text := r.Markdown(); strings.Contains(text, "<b>") || strings.Contains(text, "\n| `opt/kata/<script>alert(1)</script>\"'&`") {
		t.Errorf("the Markdown takes a name for more than text:\n%s", text)
	}
}

// stripNames leaves out text, which may contain anything.
func stripNames(page []byte) []byte {
	return regexp.MustCompile(`&[#a-z0-9]+;[^<>]*`).ReplaceAll(page, nil)
}

func TestReportRoundTrip(t *testing.T) {
	r := sample(t)
	text, err := json.Marshal(r)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "kata-static-report.json")
	require.NoError(t, os.WriteFile(file, text, 0o644))
	previous, err := Read(file)
	require.NoError(t, err)
	again := r
	require.NoError(t, again.Compare(previous))
	want := &Change{Since: "3.28.0", Before: r.Size, After: r.Size}
	if diff := cmp.Diff(want, again.Change, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a report differs from itself (-want +got):\n%s", diff)
	}
	other := r
	other.Arch = catalog.AArch64
	if err := other.Compare(previous); err == nil || !strings.Contains(err.Error(), "is of kata-static on x86_64, but this one is of kata-static on aarch64") {
		t.Errorf("compared with another architecture: %v", err)
	}
}

// TestCompare has one case for each thing that can become of a member.
func TestCompare(t *testing.T) {
	now := released("2", component("a", "bin/same 1", "bin/grown 3", "lib-1.2/new 1", "vmlinux-6.18.15-188 5", "b-1 1", "b-2 1"), component("fresh", "bin/fresh 2"))
	before := released("1", component("a", "bin/same 1", "bin/grown 2", "vmlinux-6.12.47-173 6", "b-3 1", "b-4 1"), component("left", "bin/left 1"))
	require.NoError(t, now.Compare(before))
	member := func(name, component, state string, before, after int64) Delta {
		return Delta{Name: "opt/kata/" + name, Component: component, State: state, Before: before * mib, After: after * mib}
	}
	bumped := member("vmlinux-6.18.15-188", "a", StateChanged, 6, 5)
	bumped.Was = "opt/kata/vmlinux-6.12.47-173"
	want := &Change{
		Since: "1", Before: before.Size, After: now.Size,
		Components: []Delta{
			{Name: "fresh", State: StateNew, After: 2 * mib},
			{Name: "a", State: StateChanged, Before: 11 * mib, After: 12 * mib},
			{Name: "left", State: StateGone, Before: mib},
		},
		Members: []Delta{
			member("bin/fresh", "fresh", StateNew, 0, 2),
			// Two of each kind: which became which is not clear.
			member("b-1", "a", StateNew, 0, 1), member("b-2", "a", StateNew, 0, 1),
			member("bin/grown", "a", StateChanged, 2, 3), member("lib-1.2/new", "a", StateNew, 0, 1),
			member("b-3", "a", StateGone, 1, 0), member("b-4", "a", StateGone, 1, 0),
			member("bin/left", "left", StateGone, 1, 0), bumped,
		},
	}
	if diff := cmp.Diff(want, now.Change, cmpopts.SortSlices(func(a, b Delta) bool { return a.Name < b.Name })); diff != "" {
		t.Errorf("change (-want +got):\n%s", diff)
	}
	if first := now.Change.Members[0]; first.Name != "opt/kata/bin/fresh" {
		t.Errorf("what grew most comes not first, but %s", first.Name)
	}
	// What a report was made without is not gone.
	now.Missing = []string{"left"}
	require.NoError(t, now.Compare(before))
	if got := now.Change.Components; len(got) != 2 || got[1].Name != "a" {
		t.Errorf("with a component missing: %v", got)
	}
}

// TestCompareWithMembers finds the components of the files of a tarball: by name, by
// name without version, or none.
func TestCompareWithMembers(t *testing.T) {
	now := released("2", component("kernel", "share/k/vmlinux-6.18 5"), component("qemu", "share/q/bios 1", "bin/qemu 3"))
	previous := Report{Version: "old", Size: 12 * mib, Components: []Component{component("", "bin/qemu 2", "share/k/vmlinux-6.12 4", "share/q/gone 1", "bin/other 2")}}
	require.NoError(t, now.Compare(previous))
	got := map[string]string{}
	for _, d := range now.Change.Members {
		got[strings.TrimPrefix(d.Name, "opt/kata/")] = d.Component + " " + d.State
	}
	want := map[string]string{
		"bin/qemu": "qemu changed", "share/k/vmlinux-6.18": "kernel changed", "share/q/bios": "qemu new",
		"share/q/gone": " gone", "bin/other": " gone",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

// FuzzParse reads reports from outside. What is accepted can be compared with,
// and shown.
func FuzzParse(f *testing.F) {
	before := released("1", component("a", "bin/same 1", "vmlinux-6.12.47-173 6", "b-3 1"), component("left", "bin/left 1"))
	text, err := before.content(".json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":1,"set":"kata-static","arch":"x86_64","components":[{"members":[{"name":"opt/a","link":"b"}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		previous, err := Parse(bytes.NewReader(data))
		if err != nil {
			return
		}
		now := released("2", component("a", "bin/same 1", "vmlinux-6.18.15-188 5", "b-1 1"), component("fresh", "bin/fresh 2"))
		if now.Compare(previous) != nil {
			return
		}
		for _, kind := range []string{".json", ".md", ".html"} {
			if _, err := now.content(kind); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if now.Change.Growth() != now.Size-now.Change.Before {
			t.Errorf("%+v", now.Change)
		}
	})
}
