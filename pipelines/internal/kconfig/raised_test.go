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
		"another value":        {map[string]string{"kernel-configs/common/b.conf": "\nCONFIG_B=m\n"}, "b.conf:2: CONFIG_B is m and was y"},
		"a new option":         {map[string]string{"kernel-configs/common/b.conf": "CONFIG_B=y\nCONFIG_C=y\n"}, "b.conf:2: CONFIG_C=y is new"},
		"a new folder":         {map[string]string{"kernel-configs/s390/c.conf": "CONFIG_C=y\n"}, "s390/c.conf:1: CONFIG_C=y is new"},
		"a removed file":       {map[string]string{"kernel-configs/debug/d.conf": ""}, "kernel-configs/debug: CONFIG_D=y is gone"},
		"moved to another":     {map[string]string{"kernel-configs/debug/d.conf": "", "kernel-configs/common/d.conf": "CONFIG_D=y\n"}, "common/d.conf:1: CONFIG_D=y is new"},
		"how to mend it":       {map[string]string{"kernel-configs/debug/d.conf": ""}, "kata_config_version:1: requested options changed since main, but the version is 188 here and 188 there: raise it to 189"},
		"lowered":              {map[string]string{"kernel-configs/debug/d.conf": "", "kernel-configs/kata_config_version": "187\n"}, "the version is 187"},
		"a version of letters": {map[string]string{"kernel-configs/debug/d.conf": "", "kernel-configs/kata_config_version": "many\n"}, "is not a positive number"},
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
