package bump

import (
	"cmp"
	"slices"
	"testing"
)

func mustParse(t *testing.T, text string) version {
	t.Helper()
	v, ok := parse(text)
	if !ok {
		t.Fatalf("%q is not a version", text)
	}
	return v
}

// Each line is in ascending order.
func TestOrder(t *testing.T) {
	for _, line := range [][]string{
		{"v6.12.47", "v6.18.5", "v6.18.15", "v6.19-rc1", "v6.19-rc10", "v6.19", "v6.19.1", "v7.0"},
		{"v10.1.9", "v10.2.0-rc2", "v10.2.0", "v10.2.2", "v11.0.0"},
		{"edk2-stable202411", "edk2-stable202502", "edk2-stable202508.01", "edk2-stable202511"},
		{"gpu-snp-20241231", "gpu-snp-20260107", "gpu-snp-20260201"},
		{"v2_03_38", "v2_03_39", "v2_04_00"},
		{"590.48.01", "590.48.02", "595.1"},
		{"3.28.0-alpha1", "3.28.0-beta0", "3.28.0-rc0", "3.28.0"},
		{"1.36.1", "1.37.0"},
	} {
		for i, low := range line[:len(line)-1] {
			if high := line[i+1]; mustParse(t, low).compare(mustParse(t, high)) >= 0 || mustParse(t, high).compare(mustParse(t, low)) <= 0 {
				t.Errorf("%s is not below %s", low, high)
			}
		}
		for _, text := range line {
			if got := mustParse(t, text).String(); got != text {
				t.Errorf("%q became %q", text, got)
			}
		}
	}
	for _, text := range []string{"", "noble", "v6.15.0-rc1-916aeec68dd4500a1cdf4ebf214c5620955daf38", "ab95914ac84c32a43102463cc0ae330710af47be", "main"} {
		if v, ok := parse(text); ok {
			t.Errorf("%q is the version %+v", text, v)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, test := range []struct {
		version, series string
		want            bool
	}{{"v6.18.20", "v6.18", true}, {"v6.18", "v6.18", true}, {"v6.19.1", "v6.18", false}, {"v6.1.8", "v6.18", false}, {"v7.0", "", true}, {"v7", "v7.0", false}} {
		if got := mustParse(t, test.version).within(test.series); got != test.want {
			t.Errorf("%s within %q: %v", test.version, test.series, got)
		}
	}
}

// A new version is written where the text of a place has the old one, and read from the
// names that it has: both are each other's reverse.
func TestRewriteAndRead(t *testing.T) {
	for _, test := range []struct{ from, to, text, want string }{
		{"v6.18.15", "v6.18.20", "https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.18.15.tar.xz", "https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.18.20.tar.xz"},
		{"v6.18.15", "v7.3.4", "https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.18.15.tar.xz", "https://cdn.kernel.org/pub/linux/kernel/v7.x/linux-7.3.4.tar.xz"},
		{"v10.2.2", "v11.0.0-rc1", "qemu-10.2.2.tar.xz", "qemu-11.0.0-rc1.tar.xz"},
		{"2.6.0", "2.6.1", "https://github.com/seccomp/libseccomp/releases/download/v2.6.0/libseccomp-2.6.0.tar.gz", "https://github.com/seccomp/libseccomp/releases/download/v2.6.1/libseccomp-2.6.1.tar.gz"},
		{"v2_03_38", "v2_03_39", "LVM2.2.03.38.tgz", "LVM2.2.03.39.tgz"},
		{"edk2-stable202502", "edk2-stable202608", "edk2-stable202502.tar.gz", "edk2-stable202608.tar.gz"},
		{"edk2-stable202502", "edk2-stable202608", "2025.02", "2026.08"},
		{"gpu-snp-20260107", "gpu-snp-20260301", "gpu-snp-20260107", "gpu-snp-20260301"},
		{"3.3", "3.4", "gperf-3.3.tar.gz", "gperf-3.4.tar.gz"},
	} {
		from, to := mustParse(t, test.from), mustParse(t, test.to)
		got, ok := rewrite(test.text, from, to)
		if !ok || got != test.want {
			t.Errorf("%s: %q, %v, want %q", test.text, got, ok, test.want)
		}
		name := func(text string) string { return text[cmp.Or(slices.Index([]byte(text), '/'), -1)+1:] }
		if name(test.text) != test.text {
			continue
		}
		if read, ok := reader(test.text, from)(test.want); !ok || read.String() != test.to {
			t.Errorf("%s in %s: %q, %v, want %q", test.text, test.want, read, ok, test.to)
		}
	}
	for _, text := range []string{"gperf-13.3.tar.gz", "gperf-3.31.tar.gz", "gperf-3.3.1.tar.gz", "gperf-1.3.3.tar.gz", "f4153a09f87cbb9c826d8fc12c74642bb2d879ea.tar.gz"} {
		if got, ok := rewrite(text, mustParse(t, "3.3"), mustParse(t, "3.4")); ok || got != text {
			t.Errorf("%s has 3.3, and became %s", text, got)
		}
	}
	for _, other := range []string{"qemu-10.2.2.tar.bz2", "qemu-10.2.2.tar.xz.sig", "qemu-guest-10.2.2.tar.xz", "qemu-.tar.xz"} {
		if v, ok := reader("qemu-10.2.2.tar.xz", mustParse(t, "v10.2.2"))(other); ok {
			t.Errorf("%s is the version %v", other, v)
		}
	}
}

func TestUpstreamOf(t *testing.T) {
	for debian, want := range map[string][2]string{
		"1:10.2.2+ds-1":       {"10.2.2+ds", "10.2.2"},
		"6.18.15-1~bpo13+1":   {"6.18.15", "6.18.15"},
		"2025.02-8+deb13u1":   {"2025.02", "2025.02"},
		"2026.08+ds-2":        {"2026.08+ds", "2026.08"},
		"1:1.37.0-10.1":       {"1.37.0", "1.37.0"},
		"7.3~rc4-1~exp1":      {"7.3~rc4", "7.3~rc4"},
		"1.2.3+dfsg2-1":       {"1.2.3+dfsg2", "1.2.3"},
		"3.3":                 {"3.3", "3.3"},
		"1:10.0.13+ds-0+deb1": {"10.0.13+ds", "10.0.13"},
	} {
		if inFiles, plain := upstreamOf(debian); inFiles != want[0] || plain != want[1] {
			t.Errorf("%s: %s, %s, want %v", debian, inFiles, plain, want)
		}
	}
}
