package kconfig

import "testing"

func TestRanges(t *testing.T) {
	for _, test := range []struct {
		versions, version string
		want              bool
	}{
		{"", "v6.18.15", true},
		{">=6.18, <6.20", "v6.18", true},
		{">=6.18, <6.20", "6.18.15", true},
		{">=6.18, <6.20", "v6.19.99", true},
		{">=6.18, <6.20", "v6.20", false},
		{">=6.18, <6.20", "v6.9.1", false},
		{">=6.18,<6.20", "v6.17.12", false},
		{"< 7.0", "v6.99", true},
		{"<7.0", "v10.1", false},
		// A candidate of 6.20 has the options of 6.20 already.
		{">=6.20", "v6.20-rc1", true},
		{"<6.20", "v6.20-rc1", false},
		{"<6.20", "v6.20-rc7+", false},
		{">=6.18.15, <6.18.16", "v6.18.15-kata", true},
		{"<6.16", "v6.15.0-rc1-916aeec68dd4500a1cdf4ebf214c5620955daf3f", true},
	} {
		bounds, err := parseRange(test.versions)
		if err != nil {
			t.Errorf("%q: %v", test.versions, err)
			continue
		}
		version, err := parseVersion(test.version)
		if err != nil {
			t.Errorf("%q: %v", test.version, err)
			continue
		}
		got := true
		for _, b := range bounds {
			got = got && b.holds(version)
		}
		if got != test.want {
			t.Errorf("%s in %q is %v, want %v", test.version, test.versions, got, test.want)
		}
	}
}

func TestBadVersions(t *testing.T) {
	for _, text := range []string{"", "6", "v", "6.x", "6.18.15.1", "6.18rc1", "V6.18", "6.1234567", "6.08", " 6.18"} {
		if v, err := parseVersion(text); err == nil {
			t.Errorf("%q is taken for %v", text, v)
		}
	}
	for _, text := range []string{" ", "6.18", ">=6", ">=6.08", "=>6.18", "~6.18", ">=6.18,", ">=v6.18", ">=6.18 <6.20", "!=6.18", "=6.18", ">6.18", "<=6.18", ">=6.20-rc2"} {
		if bounds, err := parseRange(text); err == nil {
			t.Errorf("%q is taken for %v", text, bounds)
		}
	}
}
