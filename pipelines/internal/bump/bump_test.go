package bump

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

const (
	zero = "0000000000000000000000000000000000000000000000000000000000000000"

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
    # Bump: with tool.
    extra: {version: "v1.2.0"}
`
	toolLock = `# The lock.
assets.tool:
  series: "v1.2"
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
        sha256: "` + zero + `"

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
func check(t *testing.T, w *world) Standing {
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
	want := Standing{
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
		`extra: {version: "v1.2.0"}`, `extra: {version: "v1.2.10", differs: {version: "v1.2.0"}}`, "    # Bump: with", "    differs: {version: \"v1.2.0\", tag: \"v1.2.0\"}\n    # Bump: with").Replace(toolPins)
	lock := strings.NewReplacer(`"v1.2.0":`, `"v1.2.10":`, "tool-1.2.0.tar.xz\"  # the archive\n        sha256: \""+zero, "tool-1.2.10.tar.xz\"  # the archive\n        sha256: \""+hash("tool 1.2.10"),
		"size: 3", "size: 11", `"1:1.2.0+ds-1"`, `"1:1.2.10+ds-2"`, `"trixie"`, `"sid"`, "tool_1.2.0+ds.orig.tar.xz\"\n        sha256: \""+zero, "tool_1.2.10+ds.orig.tar.xz\"\n        sha256: \""+hash(debian)).Replace(before)
	wantFiles(t, w, pins, lock)
	want := []Moved{{
		Pin: "assets.tool", From: "v1.2.0", To: "v1.2.10", Pins: []string{"assets.tool.version", "assets.tool.tag", "assets.tool.extra.version"},
		Places: []Taken{{"tool", "upstream", "sha256:" + hash("tool 1.2.10"), "sha256sums.asc"}, {"tool", "debian", "sha256:" + hash(debian), "Debian's signed index"}},
		Left:   []Silent{}, Rule: "newest update of the series. Kata has v1.2.0 too.",
		Notes: []string{"versions.yaml:5: the comment names v1.2.0: read it again", "assets/sources.yaml:5: the comment names v1.2.0: read it again"},
	}}
	if diff := gocmp.Diff(want, moved); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if moved, err := w.Bump(t.Context(), "", ""); err != nil || len(moved) > 1 {
		t.Errorf("it moves again: %+v, %v", moved, err)
	}
}

// A place without the version is left out, a hash that nothing vouches for is marked, and
// the series follows a version that a person names.
func TestBumpLeavesOut(t *testing.T) {
	w := toolWorld(t)
	moved, err := w.Bump(t.Context(), "tool", "1.3.0")
	if err != nil {
		t.Fatal(err)
	}
	lock := strings.NewReplacer(`"v1.2"`, `"v1.3"`, `"v1.2.0":`, `"v1.3.0":`, "tool-1.2.0", "tool-1.3.0", zero, hash("tool 1.3.0"), "size: 3", "size: 10\n        unchecked: true").Replace(toolLock)
	from, to := strings.Index(lock, "      - name: 'debian'"), strings.Index(lock, "\nassets.tool.extra")
	_, got := w.read(t)
	if diff := gocmp.Diff(lock[:from]+lock[to:], got); diff != "" {
		t.Errorf("lock: -want +got:\n%s", diff)
	}
	if len(moved) != 1 || len(moved[0].Left) != 1 || moved[0].Left[0] != (Silent{"tool", "debian", "no suite of Debian that the lock names has tool 1.3.0"}) {
		t.Errorf("left out: %+v", moved)
	}
	// With the version of Kata again, nothing differs.
	pins, _ := w.read(t)
	if !strings.Contains(pins, "differs") {
		t.Errorf("nothing differs:\n%s", pins)
	}
	if _, err := w.Bump(t.Context(), "tool", "v1.2.0"); err != nil {
		t.Fatal(err)
	}
	if pins, _ = w.read(t); pins != toolPins {
		t.Errorf("pins: %s", gocmp.Diff(toolPins, pins))
	}
}

func TestBumpRefuses(t *testing.T) {
	w := toolWorld(t)
	wantRefusal(t, w, "assets.tool", "v1.9.0", "no place has source tool of v1.9.0", "upstream: http://", "404 Not Found", "debian: no suite of Debian")
	wantRefusal(t, w, "assets.tool", "v1.2.3", `source tool, place "upstream"`, zero, hash("tool 1.2.3")) // Upstream publishes another hash.
	wantRefusal(t, w, "assets.tool", "next", `"next" is not a version`)
	wantRefusal(t, w, "assets.tool", "stable1.2.3", `"stable1.2.3" does not look like "v1.2.0"`)
	wantRefusal(t, w, "assets.tool.extra", "v1.2.3", "it moves with assets.tool")
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

const (
	taggedPins = "assets:\n  tagged: {url: \"URL/git/tagged\", tag: \"gpu-snp-20260107\"}\n"
	taggedLock = `assets.tagged:
  pin: tag
  "gpu-snp-20260107":
    tagged:
      - name: "upstream"
        git: {url: "URL/git/tagged", ref: "gpu-snp-20260107"}
`
)

// The commit of a tag is written down, and a tag that was moved later is an error.
func TestBumpTag(t *testing.T) {
	w := newWorld(t, taggedPins, taggedLock)
	wantRefusal(t, w, "tagged", "gpu-snp-20260107", "/git/tagged does not answer")
	w.asked = nil
	commit := w.tag(t, "tagged", "gpu-snp-20260107", nil)
	w.tag(t, "tagged", "gpu-tdx-20260201", nil)
	if s := check(t, w); !s.Behind || s.Newest != "gpu-snp-20260107" || s.Why != "its tag has no pinned commit" {
		t.Errorf("standing %+v", s)
	}
	if _, err := w.Bump(t.Context(), "tagged", ""); err != nil {
		t.Fatal(err)
	}
	_, lock := w.read(t)
	want := strings.Replace(taggedLock, `ref: "gpu-snp-20260107"`, `commit: "`+commit+`"`, 1) + "        sha256: \""
	if !strings.HasPrefix(lock, want) || !strings.HasSuffix(lock, "\"\n        unchecked: true\n") {
		t.Errorf("lock:\n%s\nwant\n%s", lock, want)
	}
	if s := check(t, w); s.Behind {
		t.Errorf("it is behind still: %+v", s)
	}
	w.asked = nil
	moved := w.tag(t, "tagged", "gpu-snp-20260107", nil)
	wantRefusal(t, w, "tagged", "gpu-snp-20260107", "the tag gpu-snp-20260107 of ", commit, moved)
	wantRefusal(t, w, "tagged", "gpu-snp-20270101", commit, moved)
}

// A submodule of the new version has the commit that its tree names.
func TestBumpSubmodules(t *testing.T) {
	one, two := strings.Repeat("1", 40), strings.Repeat("2", 40)
	w := newWorld(t, "assets:\n  fw: {version: \"edk2-stable202502\"}\n", "")
	lib := w.tag(t, "lib", "v1", nil)
	newer := w.tag(t, "lib", "v2", nil)
	old := w.tag(t, "fw", "edk2-stable202502", map[string]string{"Lib/lib": lib, "Other": one})
	commit := w.tag(t, "fw", "edk2-stable202508", map[string]string{"Lib/lib": newer, "Other": two})
	lock := `assets.fw:
  "edk2-stable202502":
    fw:
      - name: "upstream"
        git: {url: "URL/git/fw", commit: "` + old + `"}
    lib:
      - name: "upstream"
        git: {url: "URL/git/lib", commit: "` + lib + `"}
`
	write(t, w.Lock, strings.ReplaceAll(lock, "URL", w.url))
	if _, err := w.Bump(t.Context(), "fw", ""); err != nil {
		t.Fatal(err)
	}
	_, got := w.read(t)
	for _, want := range []string{`"edk2-stable202508":`, `commit: "` + commit + `"`, `commit: "` + newer + `"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Count(got, "unchecked: true") != 2 {
		t.Errorf("not marked:\n%s", got)
	}
}

// Two entries share the versions of the lock: the old one stays while the other has it.
func TestBumpShared(t *testing.T) {
	w := newWorld(t, "assets:\n  fw:\n    a: {version: \"1.0\"}\n    b: {version: \"1.0\"}\n", `assets.fw:
  for: [a, b]
  "1.0":
    fw: [{name: up, url: "URL/files/fw-1.0.tar", sha256: "`+zero+`"}]
`)
	w.files["fw-1.1.tar"], w.files["fw-1.1.tar.sha256"] = "fw", hash("fw")+"\n"
	_, before := w.read(t)
	added := strings.NewReplacer("1.0", "1.1", zero, hash("fw")).Replace(before[strings.Index(before, `  "1.0"`):])
	if _, err := w.Bump(t.Context(), "assets.fw.b", ""); err != nil {
		t.Fatal(err)
	}
	const pins = "assets:\n  fw:\n    a: {version: \"1.0\"}\n    b: {version: \"1.1\", differs: {version: \"1.0\"}}\n"
	wantFiles(t, w, pins, before+added)
	if _, err := w.Bump(t.Context(), "assets.fw", "1.1"); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, w, strings.Replace(pins, "1.0\"", "1.1\", differs: {version: \"1.0\"}", 1), strings.Replace(before[:strings.Index(before, `  "1.0"`)]+added, "1.0", "1.1", 1))
}

// A Go module comes from the proxy; the commit of its tag, which only the repository knows,
// stays unknown until that answers.
func TestBumpModule(t *testing.T) {
	w := newWorld(t, "assets:\n  mod:\n    url: \"http://127.0.0.1:1/mod\"\n    version: \"v1.0.0\"\n", `assets.mod:
  "v1.0.0":
    pins: {commit: "0123456789012345678901234567890123456789"}
    mod:
      - name: "go"
        goproxy: {module: "example.com/mod", version: "v1.0.0"}
        sha256: "`+zero+`"
`)
	module(t, t.TempDir(), "example.com/mod", "v1.0.0", "v1.1.0", "v1.2.0-rc.1")
	if s := check(t, w); s.Newest != "v1.1.0" {
		t.Errorf("standing %+v", s)
	}
	moved, err := w.Bump(t.Context(), "mod", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, lock := w.read(t); !strings.Contains(lock, `pins: {commit: ""}`) || !strings.Contains(lock, `version: "v1.1.0"}`) || !strings.Contains(lock, "unchecked: true") || strings.Contains(lock, zero) {
		t.Errorf("lock:\n%s", lock)
	}
	if len(moved) != 1 || len(moved[0].Left) != 1 || moved[0].Left[0].Place != "pin commit" {
		t.Errorf("moved %+v", moved)
	}
	commit := w.tag(t, "mod", "v1.1.0", nil)
	pins, _ := w.read(t)
	write(t, w.Path, strings.Replace(pins, "http://127.0.0.1:1/mod", w.url+"/git/mod", 1))
	again := &Bumper{Path: w.Path, Lock: w.Lock, Sources: w.Sources}
	if _, err := again.Bump(t.Context(), "mod", cmp.Or(moved[0].To, "v1.1.0")); err != nil {
		t.Fatal(err)
	}
	if _, lock := w.read(t); !strings.Contains(lock, `pins: {commit: "`+commit+`"}`) {
		t.Errorf("lock:\n%s", lock)
	}
}
