package workspace

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// TestCommitted: what is compared with the commit is what keys were made of, not what
// the tree has by then.
func TestCommitted(t *testing.T) {
	const script, fragment, added = "assets/tiny/build.sh", "kernel-configs/common/a.conf", "kernel-configs/common/added.conf"
	const notes, patches = "kernel-configs/common/notes", "assets/tiny/patches"
	for name, test := range map[string]struct {
		edit, revert string // scripts for a shell
		want         string // the inputs that are not committed
	}{
		"nothing":                {"", "", ""},
		"an edit":                {"echo >>" + script, "", script},
		"an edit, reverted":      {"echo >>" + script, "git checkout -q .", script},
		"an edit after the plan": {"", "echo >>" + script, ""},
		"pins, reverted":         {"echo >>versions.yaml", "git checkout -q .", "versions.yaml"},
		"new pins, removed": {
			"git rm -q --cached versions.yaml; git -c user.name=a -c user.email=a@example.org commit -q -m two", "rm versions.yaml", "versions.yaml",
		},
		"a new file, removed":        {"echo CONFIG_D=y >" + added, "rm " + added, added},
		"a removed file, restored":   {"rm " + fragment + "; echo CONFIG_D=y >" + added, "git checkout -q .", fragment + ", " + added},
		"an empty folder for a file": {"rm " + notes + "; mkdir " + notes, "", notes},
		"a removed folder, restored": {"rm -r " + patches, "git checkout -q .", patches + "/1.patch"},
		"names that git quotes":      {"cd kernel-configs/common; echo CONFIG_D=y >'\"d.conf'; echo CONFIG_E=y >'e\n.conf'", "", "kernel-configs/common/\"d.conf, kernel-configs/common/e\n.conf"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			run := func(script string) {
				cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
				cmd.Dir = root
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", script, err, out)
				}
			}
			require.NoError(t, os.CopyFS(root, os.DirFS(filepath.FromSlash("../../testdata/tree"))))
			run("mkdir " + patches + "; echo 1 >" + patches + "/1.patch; echo >" + notes)
			run(`sed -i "s,script: build.sh,&\n    alone: true\n    files: [patches]," assets/tiny/assets.yaml`)
			run("git init -q -b main && git add . && git -c user.name=a -c user.email=a@example.org commit -q -m one")
			run(test.edit)
			w, err := Open(t.Context(), Options{Root: root, CacheDir: t.TempDir()})
			require.NoError(t, err)
			defer w.Close()
			names := []string{"kernel-debug", "tiny"}
			before, err := w.Inputs(names, "x86_64") // As a plan does.
			require.NoError(t, err)
			run(test.revert)
			in, err := w.Inputs(names, "x86_64")
			if err != nil || !slices.Equal(in, before) {
				t.Fatalf("%v, want the inputs of the plan:\n%v\n%v", err, in, before)
			}
			_, err = w.Committed(t.Context(), in)
			got := ""
			if err != nil {
				got = strings.TrimSuffix(strings.TrimPrefix(err.Error(), "these inputs are not committed: "), "; commit them")
			}
			if got != test.want {
				t.Errorf("not committed: %q, want %q", got, test.want)
			}
		})
	}
}
