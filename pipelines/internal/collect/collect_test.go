package collect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// entry is an artifact of an age in days with blobs of 100 bytes each; -1 is no known age.
func entry(name, key string, days int, blobs string, tags ...string) store.Item {
	item := store.Item{Kind: store.KindArtifact, Name: name, Arch: "x86_64", Key: key, Tags: tags}
	if days >= 0 {
		item.Used = now.AddDate(0, 0, -days)
	}
	for _, blob := range strings.Fields(blobs) {
		item.Blobs = append(item.Blobs, ocispec.Descriptor{Digest: digest.FromString(blob), Size: 100})
	}
	return item
}

func kept(things []Thing) string {
	var lines []string
	for _, t := range things {
		lines = append(lines, strings.TrimSpace(t.Key+" "+t.Keep))
	}
	return strings.Join(lines, "\n")
}

func TestDecide(t *testing.T) {
	busy := entry("qemu", "busy", 90, "k")
	busy.InUse = true
	builder := entry("builder", "other", 90, "l")
	builder.Kind = store.KindBuilder
	items := []store.Item{
		entry("qemu", "wanted", 90, "a"), entry("qemu", "recent", 29, "b"), entry("qemu", "old", 31, "c"), busy,
		entry("shim-v2", "waits", 90, "d"), builder,
	}
	things := OfItems(items, nil)
	wanted := Wanted{Names: map[string]string{"wanted": "main"}, Pending: map[string]string{"shim-v2 x86_64": "in main, its key depends on qemu"}}
	Decide(things, Rules{Wanted: wanted, Now: now, Days: 30})
	want := `wanted needed by main
recent used on 2026-10-28
old
busy in use
waits perhaps needed: in main, its key depends on qemu
other`
	if got := kept(things); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	Decide(things, Rules{Now: now, Days: 0, Newest: 1})
	if got := kept(things); !strings.Contains(got, "recent one of the 1 newest\nold\n") {
		t.Errorf("with one newest: %s", got)
	}
}

func TestDecideInARegistry(t *testing.T) {
	commit := func(c string) string { return strings.Repeat(c, 40) }
	tag := func(c string) string { return "commit-" + commit(c) + "-x86_64" }
	commits := map[string]time.Time{commit("a"): now.AddDate(0, 0, -90), commit("b"): now.AddDate(0, 0, -2)}
	var items []store.Item
	for i, tags := range [][]string{
		{tag("a")}, {tag("a"), tag("b")}, {tag("c")}, {tag("a"), "latest-stable-3.28-x86_64"},
		{tag("a"), "release-3.9.0-x86_64"}, {tag("a"), "release-3.28.0-x86_64"}, {"latest-main-aarch64"},
	} {
		items = append(items, entry("qemu", fmt.Sprint(i), -1, fmt.Sprint("blob", i), tags...))
	}
	things := OfItems(items, commits)
	Decide(things, Rules{Now: now, Days: 30})
	want := `0
1 used on 2026-11-24
2 of unknown age: this clone has no commit that pushed it
3 the latest of stable-3.28
4
5
6 the latest of main-aarch64`
	if got := kept(things); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	things = things[:6]
	Decide(things, Rules{Now: now, Newest: 1})
	if got := kept(things); got != "0\n1 one of the 1 newest\n2\n3 the latest of stable-3.28\n4\n5 release 3.28.0" {
		t.Errorf("without days: %s", got)
	}
}

func TestFit(t *testing.T) {
	items := []store.Item{
		entry("qemu", "oldest", 4, "a shared"), entry("qemu", "older", 3, "b shared"), entry("qemu", "newer", 2, "c"), entry("qemu", "newest", 1, "d"),
	}
	items[1].InUse = true
	for budget, want := range map[int64]string{
		500: "oldest older newer newest", 499: "older newer newest", 400: "older newer newest", 399: "older newest", 250: "older", 0: "older",
	} {
		things := OfItems(items, nil)
		for i := range things {
			things[i].Keep = "stays"
		}
		Fit(things, budget)
		var got []string
		for _, thing := range things {
			if thing.Keep != "" {
				got = append(got, thing.Key)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("within %d: %v, want %s", budget, got, want)
		}
		stay, gone := Totals(things)
		if stay.Size+gone.Size != 500 || stay.Count+gone.Count != 4 {
			t.Errorf("within %d: %+v stay, %+v go: a shared blob counts once", budget, stay, gone)
		}
	}
}

func write(t *testing.T, age time.Duration, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	then := time.Now().Add(-age)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, make([]byte, 5000), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, then, then); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestFiles removes what is next to the store, but not what is used meanwhile, locked by a
// build, or of no known kind.
func TestFiles(t *testing.T) {
	cache := t.TempDir()
	const old = 60 * 24 * time.Hour
	gone := []string{
		write(t, old, cache, "sources/sha256/a"), write(t, old, cache, "bases/base-trixie-amd64-1.tar"),
		write(t, old, cache, "components/x86_64/kata-static-qemu.tar.zst"),
	}
	stays := []string{
		write(t, 0, cache, "sources/sha256/b"), write(t, old, cache, "sources/git/a/HEAD"), write(t, old, cache, "mine/a"),
		write(t, old, cache, "engine/state/a"), write(t, old, cache, "sources/sha256/wanted"), write(t, old, cache, "sources/sha256/used"),
	}
	then := time.Now().Add(-old)
	if err := os.Chtimes(filepath.Join(cache, "components/x86_64"), then, then); err != nil {
		t.Fatal(err)
	}
	folder, err := files.Beside(filepath.Join(cache, "work", "build"))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	stays = append(stays, folder.Name())
	gone = append(gone, filepath.Join(cache, "work", ".build.tmp77"))
	if err := os.Mkdir(gone[len(gone)-1], 0o755); err != nil {
		t.Fatal(err)
	}
	things, err := InFiles(cache, time.Now().Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	Decide(things, Rules{Wanted: Wanted{Names: map[string]string{"sources/sha256/wanted": "main"}}, Now: time.Now(), Days: 0})
	for i := range things {
		if strings.HasSuffix(things[i].Name, "/b") {
			things[i].Keep = "stays"
		}
	}
	files.Touch(filepath.Join(cache, "sources/sha256/used"))
	removed, err := Local(t.Context(), store.Open(filepath.Join(cache, "store"), nil), things)
	if err != nil || len(removed.InUse) != 2 || removed.Freed != 3*5000 {
		t.Errorf("removed %+v, %v", removed, err)
	}
	for _, path := range gone {
		if files.Exists(path) {
			t.Errorf("%s stays", path)
		}
	}
	for _, path := range stays {
		if !files.Exists(path) {
			t.Errorf("%s is gone", path)
		}
	}
}

// TestUsage counts a file with two names once.
func TestUsage(t *testing.T) {
	cache := t.TempDir()
	first := write(t, time.Hour, cache, "sources/sha256/a")
	if err := os.Link(first, filepath.Join(cache, "sources/sha256/b")); err != nil {
		t.Fatal(err)
	}
	write(t, 0, cache, "store/qemu/blobs/sha256", strings.Repeat("a", 64))
	write(t, 0, cache, "engine/state/x")
	write(t, 0, cache, "apt/x")
	uses, err := Usage(t.Context(), cache, store.Open(filepath.Join(cache, "store"), nil))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]Use{}
	for _, use := range uses {
		found[use.Kind] = use
	}
	if u := found["source"]; u.Count != 2 || u.Size != 8192 || u.Used == nil {
		t.Errorf("sources: %+v", u)
	}
	if u := found["artifact"]; u.Unnamed != 8192 {
		t.Errorf("artifacts: %+v, want a blob that nothing names", u)
	}
	if u := found["engine"]; u.Size < 8192 {
		t.Errorf("engine: %+v", u)
	}
}
