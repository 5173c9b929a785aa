package sizes

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// packed writes the tarball of an asset with files "path content" into a folder.
func packed(t *testing.T, dir, asset string, files ...string) archive.Component {
	t.Helper()
	tree := t.TempDir()
	for _, file := range files {
		path, content, _ := strings.Cut(file, " ")
		path = filepath.Join(tree, "opt/kata", path)
		require.WriteFile(t, path, content)
	}
	out := filepath.Join(dir, asset+".tar.zst")
	if _, err := archive.Pack(t.Context(), tree, out, archive.Options{Level: 1, ModTime: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	return archive.Component{Name: asset, Path: out}
}

// noise does not compress.
func noise(n int) string {
	random := rand.NewChaCha8([32]byte{1})
	text := make([]byte, n)
	_, _ = random.Read(text)
	return string(text)
}

// merging is a merge of some components, with the budgets of their assets.
type merging struct {
	Merge
	components []archive.Component
}

func mergeOf(components ...archive.Component) merging {
	m := merging{Merge{Set: "kata-static", Arch: catalog.X86_64, Version: "3.28.0", Catalog: &catalog.Catalog{}}, components}
	for _, c := range components {
		m.Catalog.Assets = append(m.Catalog.Assets, catalog.Asset{Name: c.Name, Arches: []catalog.Arch{catalog.X86_64}})
	}
	return m
}

func (m merging) merged(t *testing.T) *archive.Merged {
	t.Helper()
	extras := []archive.Extra{{Name: "./opt/kata/VERSION", Content: []byte("3.28.0\n")}}
	merged, err := archive.PlanMerge(t.Context(), m.components, extras, archive.Options{ModTime: time.Unix(0, 0), Cache: t.TempDir()})
	require.NoError(t, err)
	return merged
}

func (m merging) report(t *testing.T) Report {
	t.Helper()
	return Of(m.Merge, m.merged(t))
}

// TestLimit is exact to the byte: a tarball of the limit's size is too big.
func TestLimit(t *testing.T) {
	dir := t.TempDir()
	m := mergeOf(packed(t, dir, "big", "bin/big "+noise(40_000)), packed(t, dir, "small", "bin/small s"))
	size := m.report(t).Size
	m.Limit = size + 1
	if err := m.report(t).Check(true); err != nil {
		t.Errorf("one byte below the limit: %v", err)
	}
	m.Limit = size
	r := m.report(t)
	previous := released("3.27.0", Component{Name: "big", Size: 1000, Members: []Member{{Name: "opt/kata/bin/big", Packed: 1000}}})
	require.NoError(t, r.Compare(previous))
	err := r.Check(false)
	if err == nil {
		t.Fatal("of the limit's size: no error")
	}
	for _, want := range []string{
		fmt.Sprintf("kata-static on x86_64 would be %d bytes long, and must stay below %d: it is 1 bytes too long", size, size),
		"components:\n    40.0 KiB  98", "%  big\n", "biggest members:\n    40.0 KiB  opt/kata/bin/big (big)",
		"since 3.27.0 with 2.0 KiB (+", "\n   +39.0 KiB  big\n", "\n   +39.0 KiB  opt/kata/bin/big (big)",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if Limit != 2<<30 {
		t.Errorf("the limit is %d", Limit)
	}
	m.Limit = 0
	if got := m.report(t).Limit; got != Limit {
		t.Errorf("the default limit is %d", got)
	}
}

func TestBudgets(t *testing.T) {
	dir := t.TempDir()
	m := mergeOf(packed(t, dir, "big", "bin/big "+noise(40_000)), packed(t, dir, "small", "bin/small s"))
	exact := m.report(t).Components[0].Size
	big, small := &m.Catalog.Assets[0], &m.Catalog.Assets[1]
	big.Budget, big.Pos, small.Budget, small.Pos = catalog.Bytes(exact), "assets.yaml:7", 1<<20, "assets.yaml:9"
	if over := m.report(t).OverBudget(); over != nil {
		t.Errorf("within the budget: %q", over)
	}
	big.Budget--
	r := m.report(t)
	if err := r.Check(false); err != nil {
		t.Errorf("a budget stops a merge that is not strict: %v", err)
	}
	want := "assets.yaml:7: big on x86_64 has 40.0 KiB, 1 B over its budget of 40.0 KiB: make it smaller, or raise the budget"
	if err := r.Check(true); err == nil || err.Error() != want {
		t.Errorf("strict: %v, want %s", err, want)
	}
}

func TestReadPrevious(t *testing.T) {
	dir := t.TempDir()
	m := mergeOf(packed(t, dir, "a", "bin/a "+noise(5000), "bin/b b", "bin/c "+noise(700), "lib/d d"), packed(t, dir, "e", "bin/e e", "bin/f "+noise(99)))
	mergedPlan := m.merged(t)
	merged := filepath.Join(dir, "kata-static-3.27.0-amd64.tar.zst")
	if _, err := mergedPlan.Write(t.Context(), merged, nil); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.WriteFile(t, path, text)
		return path
	}
	whole, err := os.ReadFile(merged)
	require.NoError(t, err)
	var end int64
	for _, frame := range mergedPlan.Index.Frames {
		end += frame.Size
	}
	for name, test := range map[string]struct {
		path, name string
		size       int64
		estimated  bool
	}{
		"a tarball":        {merged, "kata-static-3.27.0-amd64", int64(len(whole)), false},
		"without an index": {file("old.tar.zst", string(whole[:end])), "old", end, true},
	} {
		got, err := Read(test.path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Version != test.name || got.Size != test.size || got.estimated != test.estimated {
			t.Errorf("%s: %+v, want %+v", name, got, test)
		}
		again := m.report(t)
		require.NoError(t, again.Compare(got))
		// Without an index, the length of the whole is that of other frames, too.
		if c := again.Change; len(c.Components)+len(c.Members) != 0 || c.Before != c.After && !test.estimated {
			t.Errorf("%s: differs from itself: %+v", name, *c)
		}
	}
	for text, want := range map[string]string{
		`{"format": 7}`:       "it is not a report of format 1",
		`{"format": `:         "it begins as JSON but is not a report",
		`hello`:               "it is neither a tarball nor a report",
		`[{"name": "opt/a"}]`: "it is neither a tarball nor a report",
		// A program that walked up from this name would never reach the top.
		`{"format": 1, "components": [{"members": [{"name": "/opt/a"}]}]}`:                       "want a clean name",
		`{"format": 1, "components": [{"members": [{"name": "opt/../../a"}]}]}`:                  "want a clean name",
		`{"format": 1, "components": [{"members": [{"name": "etc/hosts"}]}]}`:                    "belongs to the host",
		`{"format": 1, "components": [{"members": [{"name": "opt/a", "link": "/etc/passwd"}]}]}`: "make the link relative",

		`{"format": 1, "version": "3\n::error::x"}`:                                                      `control characters in "3\n::error::x"`,
		`{"format": 1, "set": "\u001b[31m"}`:                                                             "control characters",
		`{"format": 1, "size": -1}`:                                                                      "a size of -1 bytes",
		`{"format": 1, "components": [{"name": "a", "size": -9223372036854775808}]}`:                     "a size of -9223372036854775808 bytes",
		`{"format": 1, "components": [{"name": "a\u0000"}]}`:                                             "control characters",
		`{"format": 1, "components": [{"members": [{"name": "opt/a", "packed": 4611686018427387904}]}]}`: "a size of 4611686018427387904 bytes",
		`{"format": 1, "components": [{"members": [{"name": "a\nb"}]}]}`:                                 "control characters",
	} {
		if _, err := Read(file("bad", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
