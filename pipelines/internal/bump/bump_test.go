package bump

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

const (
	zero = "0000000000000000000000000000000000000000000000000000000000000000"
	ones = "1111111111111111111111111111111111111111111111111111111111111111"

	toolPins = `# The pins.
assets:
  description: "x"
  # Bump: newest update of the series.
  # Kata has v1.2.0 too.
  tool:
    description: "a tool"
    url: 'https://example.org'
    version: "v1.2.0"  # quoted
    tag: 'v1.2.0'
    differs: {version: "v1.1.9", tag: "v1.1.9"}
    # Bump: with tool.
    extra: {version: "v1.2.0"}
`
	toolLock = `# The lock.
assets.tool:
  series: "v1.2"
  # Kata's.
  "v1.1.9": {}
  "v1.2.0":
    # Debian repacks it: v1.2.0 had firmware.
    tool:
      - name: "upstream"
        url: "URL/files/tool/v1.x/tool-1.2.0.tar.xz"  # the archive
        sha256: "` + zero + `"
        size: 3
      - name: 'debian'
        debian:
          package: "tool"
          version: "1:1.2.0+ds-1"
          suite: "trixie"
          file: "tool_1.2.0+ds.orig.tar.xz"
        sha256: "` + ones + `"

assets.tool.extra:
  with: assets.tool
  "v1.2.0": {}
`
)

// toolWorld has upstream's files and Debian's packages of a tool.
func toolWorld(t *testing.T) *world {
	w := newWorld(t, toolPins, toolLock)
	for _, v := range []string{"1.1.9", "1.2.0", "1.2.3", "1.2.10", "1.3.0-rc1", "1.3.0"} {
		w.files["tool/v1.x/tool-"+v+".tar.xz"] = "tool " + v
		w.files["tool/v1.x/tool-"+v+".tar.sign"] = "signature"
	}
	w.files["tool/v1.x/sha256sums.asc"] = fmt.Sprintf("-----BEGIN PGP SIGNED MESSAGE-----\n\n%s  tool-1.2.3.tar.xz\n%s  tool-1.2.10.tar.xz\n", zero, hash("tool 1.2.10"))
	w.pack(t, "tool", "1:1.2.0+ds-1", "trixie")
	w.pack(t, "tool", "1:1.2.10+ds-1", "sid")
	w.pack(t, "tool", "1:1.2.10+ds-2", "sid")
	return w
}

// check returns the standing of the only pin.
func check(t *testing.T, w *world) Status {
	t.Helper()
	entries, err := w.Select("")
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.Check(t.Context(), entries)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v, want one", list, err)
	}
	return list[0]
}

func wantFiles(t *testing.T, w *world, pins, lock string) {
	t.Helper()
	gotPins, gotLock := w.read(t)
	if diff := gocmp.Diff(pins, gotPins); diff != "" {
		t.Errorf("pins: -want +got:\n%s", diff)
	}
	if diff := gocmp.Diff(lock, gotLock); diff != "" {
		t.Errorf("lock: -want +got:\n%s", diff)
	}
}

// wantRefusal wants an error with these parts, and both files as they were.
func wantRefusal(t *testing.T, w *world, pin, version string, parts ...string) {
	t.Helper()
	pins, lock := w.read(t)
	_, err := w.Bump(t.Context(), pin, version)
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("bump %s %s: error %v, want one with %q", pin, version, err, part)
		}
	}
	wantFiles(t, w, pins, lock)
}

func TestCheck(t *testing.T) {
	w := toolWorld(t)
	want := Status{
		Pin: "assets.tool", Version: "v1.2.0", Newest: "v1.2.10", Places: []string{"upstream"},
		Series: "v1.2", Beyond: "v1.3.0", Behind: true, Why: "a newer version", Silent: []Silent{},
	}
	got := check(t, w)
	// The lock does not name Debian's suite sid, so only upstream has the newest.
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Everything about the version changes and nothing else; the pin that moves with it, too.
func TestBumpKeepsTheRest(t *testing.T) {
	w := toolWorld(t)
	write(t, w.Lock, strings.ReplaceAll(toolLock, "URL", w.url)+"\nassets.other:\n  \"1\": {o: [{name: d, sha256: \""+zero+"\", debian: {package: other, version: \"1-1\", suite: sid, file: other_1.orig.tar.xz}}]}\n")
	_, before := w.read(t)
	moved, err := w.Bump(t.Context(), "assets.tool", "")
	if err != nil {
		t.Fatal(err)
	}
	debian := "debian tool_1.2.10+ds.orig.tar.xz"
	pins := strings.NewReplacer(`version: "v1.2.0"  # quoted`, `version: "v1.2.10"  # quoted`, `'v1.2.0'`, `'v1.2.10'`,
		`extra: {version: "v1.2.0"}`, `extra: {version: "v1.2.10", differs: {version: "v1.2.0"}}`).Replace(toolPins)
	lock := strings.NewReplacer(`"v1.2.0":`, `"v1.2.10":`, "tool-1.2.0.tar.xz\"  # the archive\n        sha256: \""+zero, "tool-1.2.10.tar.xz\"  # the archive\n        sha256: \""+hash("tool 1.2.10"),
		"size: 3", "size: 11", `"1:1.2.0+ds-1"`, `"1:1.2.10+ds-2"`, `"trixie"`, `"sid"`, "tool_1.2.0+ds.orig.tar.xz\"\n        sha256: \""+ones, "tool_1.2.10+ds.orig.tar.xz\"\n        sha256: \""+hash(debian)).Replace(before)
	// The extra pin was Kata's, whose version stays.
	lock = strings.Replace(lock, "  \"v1.2.10\": {}\n", "  \"v1.2.0\": {}\n  \"v1.2.10\": {}\n", 1)
	wantFiles(t, w, pins, lock)
	want := []Moved{{
		Pin: "assets.tool", From: "v1.2.0", To: "v1.2.10", Pins: []string{"assets.tool.version", "assets.tool.tag", "assets.tool.extra.version"},
		Places: []Taken{{"tool", "upstream", "sha256:" + hash("tool 1.2.10"), "sha256sums.asc"}, {"tool", "debian", "sha256:" + hash(debian), "Debian's signed index"}},
		Left:   []Silent{}, Rule: "newest update of the series. Kata has v1.2.0 too.",
		Notes: []string{"versions.yaml:5: the comment names v1.2.0: read it again", "assets/sources.yaml:7: the comment names v1.2.0: read it again"},
	}}
	if diff := gocmp.Diff(want, moved); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if moved, err := w.Bump(t.Context(), "", ""); err != nil || len(moved) > 1 {
		t.Errorf("it moves again: %+v, %v", moved, err)
	}
}

// A place without the version is left out, a hash that was compared with nothing is marked, and
// the series follows a version that a person names.
func TestBumpLeavesOut(t *testing.T) {
	w := toolWorld(t)
	moved, err := w.Bump(t.Context(), "tool", "1.3.0")
	if err != nil {
		t.Fatal(err)
	}
	lock := strings.NewReplacer(`"v1.2"`, `"v1.3"`, `"v1.2.0":`, `"v1.3.0":`, "tool-1.2.0", "tool-1.3.0", zero, hash("tool 1.3.0"), "size: 3", "size: 10\n        unchecked: true").Replace(toolLock)
	lock = strings.Replace(lock, "  \"v1.3.0\": {}\n", "  \"v1.2.0\": {}\n  \"v1.3.0\": {}\n", 1) // The extra pin was Kata's.
	from, to := strings.Index(lock, "      - name: 'debian'"), strings.Index(lock, "\nassets.tool.extra")
	_, got := w.read(t)
	if diff := gocmp.Diff(lock[:from]+lock[to:], got); diff != "" {
		t.Errorf("lock: -want +got:\n%s", diff)
	}
	if len(moved) != 1 || len(moved[0].Left) != 1 || moved[0].Left[0] != (Silent{"tool", "debian", "no suite of Debian that the lock names has tool 1.3.0"}) {
		t.Errorf("left out: %+v", moved)
	}
	if _, err := w.Bump(t.Context(), "tool", "v1.2.0"); err != nil {
		t.Fatal(err)
	}
	if pins, _ := w.read(t); pins != toolPins {
		t.Errorf("back at the old version: %s", gocmp.Diff(toolPins, pins))
	}
	// With the version of Kata, which the lock has, nothing differs.
	if _, err := w.Bump(t.Context(), "tool", "v1.1.9"); err != nil {
		t.Fatal(err)
	}
	if pins, lock := w.read(t); strings.Contains(pins, "differs: {version: \"v1.1.9\"") || strings.Contains(lock, "tool-") || !strings.Contains(lock, "# Kata's.\n  \"v1.1.9\": {}\n\n") {
		t.Errorf("at Kata's version:\n%s%s", pins, lock)
	}
}

func TestBumpRefuses(t *testing.T) {
	w := toolWorld(t)
	wantRefusal(t, w, "assets.tool", "v1.9.0", "no place has source tool of v1.9.0", "tool upstream: http://", "404 Not Found", "tool debian: no suite of Debian")
	wantRefusal(t, w, "assets.tool", "v1.2.3", `source tool, place "upstream"`, zero, hash("tool 1.2.3")) // Upstream publishes another hash.
	wantRefusal(t, w, "assets.tool", "next", `"next" is not a version`)
	wantRefusal(t, w, "assets.tool", "v1.2.00", `"v1.2.00" is the version "v1.2.0" of the lock, written otherwise`)
	wantRefusal(t, w, "assets.tool", "v1.2", `"v1.2" is the version "v1.2.0" of the lock, written otherwise`)
	wantRefusal(t, w, "assets.tool", "stable1.2.3", `"stable1.2.3" does not look like "v1.2.0"`)
	wantRefusal(t, w, "assets.tool.extra", "v1.2.3", "it moves with assets.tool")
	wantRefusal(t, w, "assets.tool.extra", "", "it moves with assets.tool")
	w.files, w.packages = map[string]string{}, nil
	wantRefusal(t, &world{Bumper: &Bumper{Path: w.Path, Lock: w.Lock, Sources: &source.Fetcher{Dir: t.TempDir()}}, url: w.url}, "tool", "", "no place lists its versions, so nothing was written:", "tool debian: there is no Debian index here")
	wantRefusal(t, w, "assets.tol", "", `no entry "assets.tol"; did you mean "assets.tool"?`)
	w.files["pool/tool_1.2.0+ds.orig.tar.xz"] = "changed"
	w.files["tool/v1.x/tool-1.2.10.tar.xz"] = "changed"
	wantRefusal(t, w, "assets.tool", "", hash("changed"), hash("tool 1.2.10"))
}

// If the second file cannot be written, the first gets its content back.
func TestWriteBothOrNone(t *testing.T) {
	w := toolWorld(t)
	if _, err := w.Select("tool"); err != nil {
		t.Fatal(err)
	}
	_, before := w.read(t)
	if err := os.Remove(w.Path); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(w.Path, "in the way"), "")
	if _, err := w.Bump(t.Context(), "tool", "1.3.0"); err == nil {
		t.Error("no error")
	}
	after, err := os.ReadFile(w.Lock)
	if err != nil || strings.ReplaceAll(string(after), w.url, "URL") != before {
		t.Errorf("lock, %v:\n%s", err, after)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(w.Lock), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Every entry of the repository's own lock can be edited: what is read again has the new
// places, and no comment is lost.
func TestEditRepository(t *testing.T) {
	repository := filepath.Join("..", "..", "..")
	b := &Bumper{Path: filepath.Join(repository, "versions.yaml"), Lock: filepath.Join(repository, "assets", "sources.yaml")}
	entries, err := b.Select("")
	if err != nil {
		t.Fatal(err)
	}
	edited := 0
	for _, e := range entries {
		to, ordered := parse(e.Version)
		if !ordered || e.With != "" || e.Locked != e.Version {
			continue
		}
		to.numbers[len(to.numbers)-1] += "9"
		places := map[string][]versions.Place{}
		for name, list := range e.Sources {
			for _, place := range list {
				if place.Go == nil {
					place.SHA256, place.Unchecked = hash(place.Name), true
				}
				places[name] = append(places[name], place)
			}
		}
		one := &Bumper{pins: b.pins, lockData: b.lockData}
		moved := Moved{From: e.Version, To: to.String()}
		if err := one.edit([]versions.Entry{e}, block{e.Pins, places}, &moved); err != nil {
			t.Errorf("%s: %v", e.Path, err)
			continue
		}
		edited++
		if len(moved.Pins) == 0 {
			t.Errorf("%s: no pin was changed", e.Path)
		}
		for _, files := range [][2][]byte{{b.pins.Data, one.pins.Data}, {b.lockData, one.lockData}} {
			for line := range strings.Lines(string(files[0])) {
				if note := comment.FindString(strings.TrimSuffix(line, "\n")); note != "" && !strings.Contains(string(files[1]), note) {
					t.Errorf("%s: the comment %q is lost", e.Path, note)
				}
			}
		}
	}
	if edited < 10 {
		t.Errorf("only %d of %d entries were edited", edited, len(entries))
	}
}

// What was changed while places were asked is not lost.
func TestWriteChangedMeanwhile(t *testing.T) {
	w := toolWorld(t)
	if _, err := w.Select("tool"); err != nil {
		t.Fatal(err)
	}
	pins, lock := w.read(t)
	changed := pins + "# a person wrote this\n"
	write(t, w.Path, changed)
	if _, err := w.Bump(t.Context(), "tool", "1.2.10"); err == nil || !strings.Contains(err.Error(), "has changed since it was read") {
		t.Error(err)
	}
	wantFiles(t, w, changed, lock)
}

// Two places that had the same bytes have other ones of the new version: one may be
// compromised.
func TestSameBytes(t *testing.T) {
	w := newWorld(t, "assets:\n  k: {version: \"1.0\"}\n", fmt.Sprintf(`assets.k:
  "1.0":
    k:
      - name: upstream
        url: "URL/files/a/k-1.0.tar"
        sha256: %[1]s
      - name: mirror
        url: "URL/files/b/k-1.0.tar"
        sha256: %[1]s
`, zero))
	w.files["a/k-1.1.tar"], w.files["b/k-1.1.tar"] = "k", "a kernel"
	pins, lock := w.read(t)
	if _, err := w.Bump(t.Context(), "k", "1.1"); err == nil || !strings.Contains(err.Error(), `the places "upstream" and "mirror" of source k had the same bytes of 1.0`) {
		t.Error(err)
	}
	wantFiles(t, w, pins, lock)
	w.files["b/k-1.1.tar"] = "k"
	if _, err := w.Bump(t.Context(), "k", "1.1"); err != nil {
		t.Error(err)
	}
}
