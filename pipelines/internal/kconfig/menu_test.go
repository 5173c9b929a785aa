package kconfig

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestChanges(t *testing.T) {
	const before = "CONFIG_NET=y\n# CONFIG_F2FS is not set\nCONFIG_HZ=100\nCONFIG_OVERLAY=y\nCONFIG_OVERLAY_INDEX=y\nCONFIG_SLUB=y\n"
	set := &Set{Options: []Option{
		{"CONFIG_NET", "y", "kernel-configs/common/a.conf", 1},
		{"CONFIG_OVERLAY", "y", "kernel-configs/common/b.conf", 7},
		{"CONFIG_OVERLAY_INDEX", "y", "kernel-configs/common/b.conf", 8},
		{"CONFIG_LATE", "y", "kernel-configs/common/b.conf", 9},
		{"CONFIG_MISSING", "y", "kernel-configs/common/b.conf", 10},
	}}
	const overlay = "CONFIG_OVERLAY=y\nCONFIG_OVERLAY_INDEX=y\n"
	for _, test := range []struct {
		name, after, minimal, defaults string
		want                           string
	}{
		{name: "saved as it was", after: before, minimal: "CONFIG_NET=y\n"},
		{
			name:    "an option, what it selects, and what it opens",
			after:   "CONFIG_NET=y\nCONFIG_F2FS=y\nCONFIG_CRC32=y\nCONFIG_F2FS_XATTR=y\n# CONFIG_F2FS_DEBUG is not set\n# CONFIG_F2FS_STAT is not set\nCONFIG_F2FS_MOUNT=\"\"\nCONFIG_HZ=100\n" + overlay + "CONFIG_SLUB=y\n",
			minimal: "CONFIG_F2FS=y\n# CONFIG_F2FS_STAT is not set\n", defaults: "CONFIG_F2FS_XATTR=y\nCONFIG_F2FS_DEBUG=n\nCONFIG_F2FS_MOUNT=\"\"\n",
			want: "CONFIG_F2FS=y\nopens CONFIG_F2FS_XATTR=y\n",
		},
		{
			name:    "an option back to its default, a number, and one switched off",
			after:   "CONFIG_NET=y\nCONFIG_F2FS=y\nCONFIG_HZ=250\n" + overlay + "# CONFIG_SLUB is not set\n",
			minimal: "CONFIG_HZ=250\n# CONFIG_SLUB is not set\n", defaults: "CONFIG_F2FS=y\n",
			want: "CONFIG_F2FS=y\nCONFIG_HZ=250\n# CONFIG_SLUB is not set\n",
		},
		{
			name:    "a number back to its default",
			after:   strings.Replace(before, "HZ=100", "HZ=250", 1),
			minimal: "CONFIG_NET=y\n", defaults: "CONFIG_HZ=250\n",
			want: "CONFIG_HZ=250\n",
		},
		{
			name:    "requested ones, one of which takes another along",
			after:   "CONFIG_NET=y\n# CONFIG_F2FS is not set\nCONFIG_HZ=100\n# CONFIG_OVERLAY is not set\nCONFIG_SLUB=y\n",
			minimal: "CONFIG_NET=y\n",
			want:    "kernel-configs/common/b.conf:7 wants y, has n\nkernel-configs/common/b.conf:8 wants y, has n\n",
		},
		{
			name:    "one that had been requested in vain",
			after:   before + "CONFIG_LATE=y\n",
			minimal: "CONFIG_LATE=y\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := set.Changes(Edited{Before: []byte(before), After: []byte(test.after), Minimal: []byte(test.minimal), Defaults: []byte(test.defaults)})
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, o := range got.Chosen {
				b.WriteString(Statement(o.Name, o.Value) + "\n")
			}
			for _, o := range got.Opened {
				b.WriteString("opens " + Statement(o.Name, o.Value) + "\n")
			}
			for _, c := range got.Contradicted {
				b.WriteString(c.Pos() + " wants " + c.Value + ", has " + c.Menu + "\n")
			}
			if diff := cmp.Diff(test.want, b.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestChangesOfWhatIsNoConfig(t *testing.T) {
	whole := []byte("CONFIG_A=y\n")
	for what, e := range map[string]Edited{
		"the configuration before the menu": {After: whole, Minimal: whole},
		"the saved configuration":           {Before: whole, After: []byte("what?\n"), Minimal: whole},
		"the minimal configuration":         {Before: whole, After: whole},
	} {
		if _, err := (&Set{}).Changes(e); err == nil || !strings.HasPrefix(err.Error(), what+" has no ") {
			t.Errorf("error %v, want one about %s", err, what)
		}
	}
}

// What is written must be a fragment that is read again.
func TestFragment(t *testing.T) {
	changes := Changes{
		Chosen: []Option{{Name: "CONFIG_A", Value: "y"}, {Name: "CONFIG_B", Value: "n"}, {Name: "CONFIG_C", Value: `"a \"b\""`}},
		Opened: []Option{{Name: "CONFIG_D", Value: "m"}},
	}
	text := changes.Fragment("kernel for x86_64")
	const want = `# Chosen in the menu of kernel for x86_64. Say here what in Kata needs it.
CONFIG_A=y
# CONFIG_B is not set
CONFIG_C="a \"b\""

# On by default, once the above is set. Remove what nothing needs.
CONFIG_D=m
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	options, problems := parse(MenuFile, text)
	if len(options) != 4 || len(problems) != 0 {
		t.Errorf("read again: %v, %v", options, problems)
	}
	if text := (Changes{Chosen: changes.Chosen[:1]}).Fragment("k"); strings.Contains(string(text), "default") {
		t.Errorf("nothing was opened, but: %s", text)
	}
}

func TestMenuFragment(t *testing.T) {
	tree := fstest.MapFS{"kernel-configs/debug/menuconfig.conf": {Data: []byte("CONFIG_A=y\n")}}
	for _, test := range []struct{ folder, want, err string }{
		{"common", "kernel-configs/common/menuconfig.conf", ""},
		{"debug/arm64", "kernel-configs/debug/arm64/menuconfig.conf", ""},
		{"arm64", "kernel-configs/arm64/menuconfig.conf", ""},
		{"debug", "", "kernel-configs/debug/menuconfig.conf is there already: "},
		{"debgu/arm64", "", `the kernel reads no folder "debgu/arm64" of kernel-configs: it reads arm64, common, common/arm64, debug, debug/arm64; did you mean "debug/arm64"?`},
		{"debug/x86_64", "", `the kernel reads no folder "debug/x86_64"`},
		{"../debug", "", "the kernel reads no folder"},
		{"", "", "the kernel reads no folder"},
	} {
		got, err := MenuFragment(tree, test.folder, []string{"common", "debug"}, "arm64")
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.HasPrefix(err.Error(), test.err) {
			t.Errorf("%q: %q, %v; want %q, %q", test.folder, got, err, test.want, test.err)
		}
	}
}
