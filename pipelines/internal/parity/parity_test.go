package parity

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// kernels are those that the rules may name.
var kernels = []string{"kernel", "small", "other"}

const rules = `
parts:
  - {name: base, files: [common/*.conf, ARCH/*.conf]}
  - {name: confidential, files: [ARCH/confidential/*.conf]}
  - {name: late, files: [common/late/*.conf]}
kernels:
  - {kernel: kernel, arches: [s390], parts: [base, confidential]}
  - {kernel: kernel, arches: [arm64], parts: [base], until: 11}
  - {kernel: kernel, arches: [arm64], parts: [base, confidential], since: 12}
  - {kernel: small, arches: [arm64], parts: [base, late], until: 11}
`

// checkout copies the one in testdata, which is in our own words, and changes files, by
// their paths below tools/packaging/kernel. Its arm64 kernel becomes confidential with
// configuration 12.
func checkout(t *testing.T, changes ...string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "kata")
	require.NoError(t, os.CopyFS(root, os.DirFS("testdata/kata")))
	for i := 0; i < len(changes); i += 2 {
		require.WriteFile(t, filepath.Join(root, folder, changes[i]), changes[i+1])
	}
	return root
}

func kata(t *testing.T, changes ...string) *Kata {
	t.Helper()
	k, err := Open(checkout(t, changes...))
	require.NoError(t, err)
	return k
}

func load(t *testing.T, reasons string) *Rules {
	t.Helper()
	r, err := Load(fstest.MapFS{File: {Data: []byte(rules + reasons)}}, kernels)
	require.NoError(t, err)
	return r
}

// TestRequested compares the chosen fragments with what the shell script would choose.
func TestRequested(t *testing.T) {
	for _, test := range []struct{ version, kernel, arch, want string }{
		{"11", "kernel", "s390", `A=y CCW=y NUMBER=3 OFF=n SE=y TEXT=""`},
		{"11", "kernel", "arm64", `A=y ARM=y NUMBER=3 OFF=n PCI=y RANDOM=y TEXT=""`},
		{"12", "kernel", "arm64", `A=y ARM=y CCA=y NUMBER=3 OFF=n PCI=y TEXT=""`},
		{"11", "small", "arm64", `A=y ARM=y NUMBER=4 OFF=n PCI=y RANDOM=y TEXT=""`},
		{"12", "small", "arm64", ""},
	} {
		options, err := load(t, "").requested(kata(t, "kata_config_version", test.version), test.kernel, test.arch)
		require.NoError(t, err)
		var got []string
		for _, option := range options {
			got = append(got, strings.TrimPrefix(option.Name, "CONFIG_")+"="+option.Value)
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s on %s of configuration %s: got %s, want %s", test.kernel, test.arch, test.version, text, test.want)
		}
	}
}

// TestOddLines has a fragment with a line that merge_config.sh skips.
func TestOddLines(t *testing.T) {
	options, err := load(t, "").requested(kata(t, "configs/fragments/common/x.conf", "CONFIG_Q: y\nCONFIG_ODD=y\n"), "kernel", "arm64")
	has := func(name string) bool {
		return slices.ContainsFunc(options, func(o kconfig.Option) bool { return o.Name == name })
	}
	if err != nil || has("CONFIG_Q") || !has("CONFIG_ODD") {
		t.Errorf("got %v and %v", options, err)
	}
}

func TestCompare(t *testing.T) {
	const all = "CONFIG_A=y\nCONFIG_ARM=y\nCONFIG_NUMBER=3\nCONFIG_PCI=y\nCONFIG_RANDOM=y\nCONFIG_TEXT=\"\"\n"
	const noPCI = "\nreasons:\n  - {reason: no bus, options: [CONFIG_PCI]}\n"
	for name, test := range map[string]struct {
		reasons, ours string
		requested     bool // ours is what we request
		rows, problem string
		selected      int
	}{
		"the same":              {ours: all},
		"ours has more":         {ours: all + "CONFIG_MORE=y\n"},
		"missing":               {ours: strings.Replace(all, "CONFIG_PCI=y\n", "", 1), rows: "PCI y/ common/pci.conf:2 ()", problem: "1 differences have no reason: request the options in a fragment, or give the reason in " + File},
		"not set":               {ours: strings.Replace(all, "CONFIG_PCI=y", "# CONFIG_PCI is not set", 1), rows: "PCI y/n common/pci.conf:2 ()", problem: "no reason"},
		"another value":         {ours: strings.Replace(all, "=3", "=5", 1), rows: "NUMBER 3/5 common/base.conf:3 ()", problem: "no reason"},
		"on, and Kata's is off": {ours: all + "CONFIG_OFF=y\n", rows: "OFF n/y common/base.conf:4 ()", problem: "no reason"},
		"explained":             {reasons: noPCI, ours: strings.Replace(all, "CONFIG_PCI=y\n", "", 1), rows: "PCI y/ common/pci.conf:2 (no bus)"},
		"a stale reason":        {reasons: noPCI, ours: all, problem: File + ":13: CONFIG_PCI is as Kata requests it in kernel on arm64: remove it from the reason, or narrow its kernels or arches"},
		"a reason for another arch": {
			reasons: "\nreasons:\n  - {reason: no bus, options: [CONFIG_PCI], arches: [s390]}\n", ours: all,
			problem: File + ":13: Kata, whose configuration is 11, does not request CONFIG_PCI for these kernels: remove it from the reason, or set since or until",
		},
		"a reason from another version":    {reasons: "\nreasons:\n  - {reason: no bus, options: [CONFIG_PCI], since: 12}\n", ours: all},
		"an option that is not requested":  {reasons: "\nreasons:\n  - {reason: none, options: [CONFIG_GONE]}\n", ours: all, problem: "does not request CONFIG_GONE"},
		"selected, in our requested set":   {reasons: "\nreasons:\n  - {reason: by x, options: [CONFIG_PCI], selected: true}\n", ours: strings.Replace(all, "CONFIG_PCI=y\n", "", 1), requested: true, selected: 1},
		"selected, in a final one":         {reasons: "\nreasons:\n  - {reason: by x, options: [CONFIG_PCI], selected: true}\n", ours: all},
		"selected, but missing at the end": {reasons: "\nreasons:\n  - {reason: by x, options: [CONFIG_PCI], selected: true}\n", ours: strings.Replace(all, "CONFIG_PCI=y\n", "", 1), rows: "PCI y/ common/pci.conf:2 ()", problem: "no reason"},
	} {
		t.Run(name, func(t *testing.T) {
			options, err := kconfig.ParseConfig("our.config", []byte(test.ours))
			require.NoError(t, err)
			ours := Kernel{Name: "kernel", Arch: "arm64", Config: "a test", Side: kconfig.Side{Options: options, Final: !test.requested}}
			compared, err := load(t, test.reasons).Compare(kata(t), []Kernel{ours})
			if fmt.Sprint(err) != "<nil>" && test.problem == "" || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
				t.Errorf("got the error %v, want %q", err, test.problem)
			}
			var rows []string
			for _, r := range compared[0].Rows {
				rows = append(rows, fmt.Sprintf("%s %s/%s %s (%s)", strings.TrimPrefix(r.Option, "CONFIG_"), r.Kata, r.Ours, r.Where, r.Reason))
			}
			if got := strings.Join(rows, "; "); got != test.rows || compared[0].Selected != test.selected || compared[0].Requested != 7 {
				t.Errorf("got %q, %+v, want %q", got, compared[0], test.rows)
			}
		})
	}
}

func TestCompareUnknownKernel(t *testing.T) {
	_, err := load(t, "").Compare(kata(t), []Kernel{{Name: "other", Arch: "arm64"}})
	if err == nil || err.Error() != File+": no kernel other for arm64: add the parts that Kata builds it from" {
		t.Error(err)
	}
	compared, err := load(t, "").Compare(kata(t, "kata_config_version", "12\n"), []Kernel{{Name: "small", Arch: "arm64"}})
	if err != nil || compared[0].Summary() != "small on arm64: this version of Kata does not build it" {
		t.Error(compared, err)
	}
}

func TestBadCheckout(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "has no tools/packaging/kernel/kata_config_version: is it a checkout of Kata Containers?") {
		t.Error(err)
	}
	for want, file := range map[string][]string{
		`kata_config_version: "many" is not a number`: {"kata_config_version", "many"},
	} {
		k, err := Open(checkout(t, file...))
		if err == nil {
			_, err = load(t, "").Compare(k, nil)
		}
		require.Error(t, err, want)
	}
	wrong := load(t, "")
	wrong.Parts[0].Files[0] = "commn/*.conf"
	if _, err := wrong.Compare(kata(t), nil); err == nil || !strings.Contains(err.Error(), "part base: the checkout has no file tools/packaging/kernel/configs/fragments/commn/*.conf: correct the pattern") {
		t.Error(err)
	}
}

func TestBadRules(t *testing.T) {
	for text, want := range map[string]string{
		"reason: []\n":                                               File + `:11: unknown field "reason"`,
		"reasons:\n  - {options: [CONFIG_A]}\n":                      ":12: no reason: say why our kernels differ",
		"reasons:\n  - {reason: x}\n":                                ":12: no options: name at least one",
		"reasons:\n  - {reason: x, options: [A]}\n":                  `:12: option is "A": want a name such as CONFIG_PCI`,
		"reasons:\n  - {reason: x, options: [CONFIG_A, CONFIG_A]}\n": ":12: duplicate option CONFIG_A: remove one",
		"reasons:\n  - {reason: x, options: [CONFIG_A]}\n  - {reason: y, options: [CONFIG_A], arches: [s390]}\n": ":13: duplicate reason for CONFIG_A, already on line 12: keep one of the two",
		"reasons:\n  - {reason: x, options: [CONFIG_A], kernels: [kernal]}\n":                                    `:12: unknown kernel "kernal": choose one of kernel, small, other; did you mean "kernel"?`,
		"reasons:\n  - {reason: x, options: [CONFIG_A], arches: [aarch64]}\n":                                    `:12: unknown kernel architecture "aarch64"`,
		"  - {kernel: kernel, arches: [arm64], parts: [base], until: 5}\n":                                       ":11: duplicate kernel kernel: separate the two by arches, or by since and until",
		"  - {kernel: other, arches: [arm64], parts: [bas]}\n":                                                   `:11: unknown part "bas": choose one of base, confidential, late; did you mean "base"?`,
		"  - {kernel: other, arches: [arm64]}\n":                                                                 ":11: a kernel needs the fields arches and parts",
		"  - {kernel: kernal, arches: [arm64], parts: [base]}\n":                                                 `:11: unknown kernel "kernal": choose one of kernel, small, other; did you mean "kernel"?`,
	} {
		_, err := Load(fstest.MapFS{File: {Data: []byte(rules + text)}}, kernels)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	text := Markdown([]Comparison{
		{Kernel: Kernel{Name: "kernel", Arch: "arm64", Config: "a_test"}, Requested: 3, Rows: []Row{{"CONFIG_PCI", "y", "pci.conf:2", "", "no <bus>"}}},
		{Kernel: Kernel{Name: "small", Arch: "arm64"}},
	})
	want := "### kernel on arm64, a\\_test: Kata requests 3 options, 2 are the same, 1 differ, 0 of them without a reason\n\n" +
		"| option | Kata | ours | in Kata | reason |\n| --- | --- | --- | --- | --- |\n| `CONFIG_PCI` | `y` |  | `pci.conf:2` | no &lt;bus> |\n\n" +
		"### small on arm64: this version of Kata does not build it\n\n"
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}
