package versions

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

func TestDifferences(t *testing.T) {
	f := must(t, `assets:
  qemu:
    version: "v10.2.2"
    tag: "v10.2.2"
    differs: {version: "v10.2.1", tag: "v10.2.1"}
  kernel:
    version: "v6.18.15"
`, "{}")
	want := []Difference{{"assets.qemu.tag", "v10.2.2", "v10.2.1"}, {"assets.qemu.version", "v10.2.2", "v10.2.1"}}
	got := f.Differences("assets.qemu.version", "assets.kernel.version", "assets.qemu.tag", "assets.qemu.version", "x")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if text := want[1].String(); text != "assets.qemu.version is v10.2.2, but Kata pins v10.2.1" {
		t.Error(text)
	}
	if pins := f.Pins(); len(pins) != 3 {
		t.Errorf("pins %v: a difference is not a pin", pins)
	}
}

func TestBadDifferences(t *testing.T) {
	for differs, want := range map[string]string{
		`"v10.2.1"`:              `f:3: assets.qemu.differs is not a mapping; write differs: {version: "VALUE"}`,
		`["v10.2.1"]`:            `f:3: assets.qemu.differs is not a mapping; write differs: {version: "VALUE"}`,
		`{vesion: "v10.2.1"}`:    `f:3: assets.qemu.differs.vesion describes no pin of the entry; did you mean "assets.qemu.version"?`,
		`{version: "v10.2.2"}`:   `f:3: assets.qemu.differs.version is "v10.2.2", the value of the pin itself; remove it`,
		`{version: 10.2}`:        `f:3: assets.qemu.differs.version is not a string; quote it: "10.2"`,
		`{version: }`:            `f:3: assets.qemu.differs.version is empty; write a value or remove the key`,
		`{version: ["v10.2.1"]}`: `f:3: assets.qemu.differs.version is a list; write one string`,
	} {
		_, err := Parse("f", []byte("assets:\n  qemu:\n    differs: "+differs+"\n    version: \"v10.2.2\"\n"))
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n%v, want\n%s", differs, err, want)
		}
	}
}

func TestMisspeltDiffers(t *testing.T) {
	_, err := Parse("f", []byte("assets:\n  qemu:\n    difers: {version: \"v10.2.1\"}\n    version: \"v10.2.2\"\n"))
	if err == nil || err.Error() != `f:3: assets.qemu.difers: did you mean "differs"?` {
		t.Error(err)
	}
}

// The file that a release publishes has every pin that users of Kata's own file look up.
func TestPathsOfKata(t *testing.T) {
	f, err := Load("../../../versions.yaml", os.DirFS("../../.."))
	require.NoError(t, err)
	paths, err := os.ReadFile("testdata/kata-3.28.0.paths")
	require.NoError(t, err)
	for path := range strings.Lines(string(paths)) {
		if _, err := f.Pin(strings.TrimSpace(path)); err != nil {
			t.Error(err)
		}
	}
}

// Where a pin differs from Kata's, the lock has Kata's version too: Kata's own file can be
// built where upstream answers.
func TestKataIsLocked(t *testing.T) {
	f, err := Load("../../../versions.yaml", os.DirFS("../../.."))
	require.NoError(t, err)
	for at, e := range f.lock {
		for _, d := range f.Differences(at + "." + e.Pin) {
			if _, locked := e.Versions[d.Kata]; !locked {
				t.Errorf("%s lacks %s of %s, which is what Kata pins", LockFile, d.Kata, e.declared)
			}
		}
	}
}
