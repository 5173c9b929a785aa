package main

import (
	"os"
	"testing"

	"golang.org/x/mod/modfile"
)

// The asset is compiled from the modules that the tests are compiled from.
func TestModules(t *testing.T) {
	read := func(file string) *modfile.File {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := modfile.Parse(file, data, nil)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	all, ours := read("../../go.mod"), read("../../assets/kata-deploy/go.mod")
	versions := map[string]string{}
	for _, r := range all.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	if ours.Go.Version != all.Go.Version || ours.Module.Mod != all.Module.Mod {
		t.Errorf("module and go differ from those of go.mod: %v %v", ours.Module.Mod, ours.Go.Version)
	}
	for _, r := range ours.Require {
		if want := versions[r.Mod.Path]; want != "" && want != r.Mod.Version {
			t.Errorf("assets/kata-deploy/go.mod has %s, and go.mod %s: run pipelines/scripts/kata-deploy-modules.sh", r.Mod, want)
		}
	}
}
