package recipe

import (
	"maps"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// kataLists are what Kata builds, by list and architecture, and the reasons for assets
// that only one side has.
type kataLists struct {
	Kata    map[string]map[catalog.Arch][]string `yaml:"kata"`
	Reasons []struct {
		Assets []string       `yaml:"assets"`
		Arches []catalog.Arch `yaml:"arches"`
		Reason string         `yaml:"reason"`
	} `yaml:"reasons"`
}

// reason returns why only one side has an asset, and marks the reason as used.
func (l kataLists) reason(asset string, arch catalog.Arch, used map[string]bool) string {
	for _, r := range l.Reasons {
		if slices.Contains(r.Assets, asset) && (len(r.Arches) == 0 || slices.Contains(r.Arches, arch)) {
			used[asset] = true
			return r.Reason
		}
	}
	return ""
}

// TestKataLists compares the release sets and the catalog with what Kata builds for a
// release. It prints, with -v, how each asset comes into being, or why it does not.
func TestKataLists(t *testing.T) {
	var lists kataLists
	if _, err := strictyaml.ReadFile(os.DirFS("testdata"), "kata.yaml", &lists); err != nil {
		t.Fatal(err)
	}
	tree := NewTree(os.DirFS("../../.."))
	c, err := catalog.Load(tree)
	require.NoError(t, err)
	pins, err := versions.Load("../../../versions.yaml", tree)
	require.NoError(t, err)
	used := map[string]bool{}
	for _, list := range slices.Sorted(maps.Keys(lists.Kata)) {
		for _, arch := range catalog.Arches() {
			ours := c.On(arch) // For what no release contains by itself.
			if set, err := c.FindSet(list); err == nil {
				ours = set.Components[arch]
				for _, name := range ours {
					if !slices.Contains(lists.Kata[list][arch], name) && lists.reason(name, arch, used) == "" {
						t.Errorf("%s has %s on %s, and Kata's does not: add a reason to testdata/kata.yaml", list, name, arch)
					}
				}
			}
			for _, name := range lists.Kata[list][arch] {
				if slices.Contains(ours, name) {
					t.Logf("%-11s %-8s %-32s %s", list, arch, name, origin(t, Resolver{Versions: pins, Tree: tree}, c, name, arch))
					continue
				}
				why := lists.reason(name, arch, used)
				if why == "" {
					t.Errorf("%s lacks %s on %s, which Kata has: add it, or a reason to testdata/kata.yaml", list, name, arch)
				}
				t.Logf("%-11s %-8s %-32s out: %s", list, arch, name, why)
			}
		}
	}
	for _, r := range lists.Reasons {
		for _, asset := range r.Assets {
			if !used[asset] {
				t.Errorf("the reason for %s in testdata/kata.yaml does not apply: remove it", asset)
			}
		}
	}
}

// origin says how an asset comes into being.
func origin(t *testing.T, r Resolver, c *catalog.Catalog, name string, arch catalog.Arch) Origin {
	t.Helper()
	asset, err := c.Find(name, arch)
	require.NoError(t, err)
	o, err := r.Origin(asset)
	require.NoError(t, err)
	return o
}

// TestGenpolicyExamples guards against shipping the drop-ins of Kata's own tests.
func TestGenpolicyExamples(t *testing.T) {
	c, err := catalog.Load(NewTree(os.DirFS("../../..")))
	require.NoError(t, err)
	genpolicy, err := c.Find("genpolicy", catalog.X86_64)
	require.NoError(t, err)
	const examples = "opt/kata/share/defaults/kata-containers/drop-in-examples/"
	for name, want := range map[string]bool{"10-non-coco-drop-in.json": true, "20-oci-1.3.0-drop-in.json": true, "99-test-overrides.json": false} {
		taken := false
		for from := range genpolicy.Import.Members {
			matches, err := path.Match(from, examples+name)
			require.NoError(t, err)
			taken = taken || matches
		}
		if taken != want {
			t.Errorf("%s is shipped: %v, want %v", name, taken, want)
		}
	}
}
