package semver

import "testing"

func TestNewer(t *testing.T) {
	ordered := []string{"latest", "3.9.0", "3.27.0", "3.28.0-alpha0", "3.28.0-rc0", "3.28.0-rc2", "3.28.0-rc10", "3.28.0", "3.28.1", "10.0.0"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := Newer(a, b); got != (i > j) {
				t.Errorf("Newer(%s, %s) is %v", a, b, got)
			}
		}
	}
	if Newer("v3.28.0", "3.28.0") {
		t.Error("a v makes a version newer")
	}
}

func TestValid(t *testing.T) {
	for version, want := range map[string]struct{ valid, prerelease bool }{
		"3.28.0": {true, false}, "v3.28.0": {true, false}, "10.0.12": {true, false},
		"3.29.0-rc0": {true, true}, "3.29.0-alpha1": {true, true},
		"3.29.0rc0": {false, false}, "3.29": {false, false}, "3.29.0+x": {false, false}, "latest": {false, false}, "": {false, false},
		"3.28.00": {false, false}, "3.28.0-rc01": {false, true},
		"3.28.0\nfoo": {false, false}, "3.28.0.1": {false, false},
	} {
		if Valid(version) != want.valid || Prerelease(version) != want.prerelease {
			t.Errorf("%q: valid %v, prerelease %v, want %+v", version, Valid(version), Prerelease(version), want)
		}
	}
}
