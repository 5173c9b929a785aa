package kconfig

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

func TestCheckRaised(t *testing.T) {
	base := map[string]string{
		"kernel-configs/kata_config_version": "188\n",
		"kernel-configs/common/a.conf":       "# why\nCONFIG_A=y\nCONFIG_N=4\n",
		"kernel-configs/common/b.conf":       "CONFIG_B=y\n",
		"kernel-configs/debug/d.conf":        "CONFIG_D=y\n",
		"kernel-configs/exceptions.yaml":     "exceptions: []\n",
		"kernel-configs/README.md":           "text\n",
	}
	for name, test := range map[string]struct {
		changed map[string]string // "" removes
		want    string            // "" is no error
	}{
		"nothing":              {nil, ""},
		"another comment":      {map[string]string{"kernel-configs/common/a.conf": "CONFIG_A=y\n# another\nCONFIG_N=4\n"}, ""},
		"moved within":         {map[string]string{"kernel-configs/common/a.conf": "CONFIG_A=y\n", "kernel-configs/common/b.conf": "CONFIG_B=y\nCONFIG_N=4\n"}, ""},
		"no fragment":          {map[string]string{"kernel-configs/README.md": "other\n", "kernel-configs/exceptions.yaml": "exceptions: []\n# x\n"}, ""},
		"raised":               {map[string]string{"kernel-configs/common/b.conf": "CONFIG_B=m\n", "kernel-configs/kata_config_version": "189\n"}, ""},
		"another value":        {map[string]string{"kernel-configs/common/b.conf": "\nCONFIG_B=m\n"}, "b.conf:2: CONFIG_B is m, and was y"},
		"a new option":         {map[string]string{"kernel-configs/common/b.conf": "CONFIG_B=y\nCONFIG_C=y\n"}, "b.conf:2: CONFIG_C=y is new"},
		"a new folder":         {map[string]string{"kernel-configs/s390/c.conf": "CONFIG_C=y\n"}, "s390/c.conf:1: CONFIG_C=y is new"},
		"a removed file":       {map[string]string{"kernel-configs/debug/d.conf": ""}, "kernel-configs/debug: CONFIG_D=y is gone"},
		"moved to another":     {map[string]string{"kernel-configs/debug/d.conf": "", "kernel-configs/common/d.conf": "CONFIG_D=y\n"}, "common/d.conf:1: CONFIG_D=y is new"},
		"how to mend it":       {map[string]string{"kernel-configs/debug/d.conf": ""}, "kata_config_version:1: requested options changed since main, but the version is 188, and was 188 there: raise it to 189"},
		"lowered":              {map[string]string{"kernel-configs/debug/d.conf": "", "kernel-configs/kata_config_version": "187\n"}, "the version is 187"},
		"a version of letters": {map[string]string{"kernel-configs/debug/d.conf": "", "kernel-configs/kata_config_version": "many\n"}, "is no positive number"},
		"a bad line":           {map[string]string{"kernel-configs/debug/d.conf": "D=y\n"}, "debug/d.conf:1: "},
	} {
		now := tree(base)
		for file, data := range test.changed {
			now[file] = &fstest.MapFile{Data: []byte(data)}
			if data == "" {
				delete(now, file)
			}
		}
		err := CheckRaised(tree(base), now, "main")
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestCheckRaisedFromBeforeThereWereFragments(t *testing.T) {
	now := tree(map[string]string{"kernel-configs/common/a.conf": "CONFIG_A=y\n", "kernel-configs/kata_config_version": "1\n"})
	if err := CheckRaised(fstest.MapFS{"README.md": {}}, now, "main"); err != nil {
		t.Error(err)
	}
}

func TestCheckRaisedTellsTenChanges(t *testing.T) {
	files := map[string]string{"kernel-configs/common/a.conf": "CONFIG_A=y\n", "kernel-configs/kata_config_version": "1\n"}
	before := tree(files)
	for i := range 13 {
		files["kernel-configs/common/a.conf"] += fmt.Sprintf("CONFIG_X%d=y\n", i)
	}
	err := CheckRaised(before, tree(files), "main")
	if err == nil || !strings.Contains(err.Error(), "\nand 3 more changes") || strings.Count(err.Error(), "is new") != 10 {
		t.Errorf("got %v", err)
	}
}

func tree(files map[string]string) fstest.MapFS {
	tree := fstest.MapFS{}
	for name, data := range files {
		tree[name] = &fstest.MapFile{Data: []byte(data)}
	}
	return tree
}

func TestCheckNoDebug(t *testing.T) {
	files := tree(map[string]string{
		"kernel-configs/debug/d.conf":       "CONFIG_KPROBES=y\nCONFIG_FRAMES=64\n# CONFIG_FAST is not set\n",
		"kernel-configs/debug/arm64/e.conf": "CONFIG_NMI=y\n",
	})
	for name, test := range map[string]struct {
		folders     []string
		arch, final string
		want        string // "" is no error
	}{
		"none":                  {[]string{"common"}, "x86_64", "CONFIG_SMP=y\n# CONFIG_KPROBES is not set\nCONFIG_FRAMES=16\n", ""},
		"one":                   {[]string{"common"}, "x86_64", "CONFIG_KPROBES=y\n", "kernel-configs/debug/d.conf:1: CONFIG_KPROBES=y is in"},
		"a number":              {[]string{"common"}, "x86_64", "CONFIG_FRAMES=64\n", "CONFIG_FRAMES=64"},
		"of this architecture":  {[]string{"common"}, "arm64", "CONFIG_NMI=y\n", "debug/arm64/e.conf:1"},
		"of another":            {[]string{"common"}, "s390", "CONFIG_NMI=y\n", ""},
		"the debug kernel":      {[]string{"common", "debug"}, "x86_64", "CONFIG_KPROBES=y\n", ""},
		"what is no .config":    {[]string{"common"}, "x86_64", "\x7fELF", "is it a .config?"},
		"off as debugging asks": {[]string{"common"}, "x86_64", "# CONFIG_FAST is not set\n", ""},
	} {
		err := CheckNoDebug(files, test.folders, test.arch, []byte(test.final))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}
