package bump

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/cargo"
)

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
	if s := check(t, w); !s.Behind || s.Newest != "gpu-snp-20260107" || s.Why != "a commit or a hash is not known yet" {
		t.Errorf("status %+v", s)
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
	w := newWorld(t, "assets:\n  fw:\n    a: {version: \"1.0\", differs: {version: \"2\"}}\n    b: {version: \"1.0\", differs: {version: \"2\"}}\n", `assets.fw:
  for: [a, b]
  "1.0":
    fw: [{name: up, url: "URL/files/fw-1.0.tar", sha256: "`+zero+`"}]
`)
	w.files["fw-1.1.tar"], w.files["fw-1.1.tar.sha256"] = "fw", hash("fw")+"\n"
	_, before := w.read(t)
	head, old, _ := strings.Cut(before, `  "1.0"`)
	added := strings.NewReplacer("1.0", "1.1", zero, hash("fw")).Replace(`  "1.0"` + old)
	if _, err := w.Bump(t.Context(), "assets.fw.b", ""); err != nil {
		t.Fatal(err)
	}
	const pins = "assets:\n  fw:\n    a: {version: \"1.0\", differs: {version: \"2\"}}\n    b: {version: \"1.1\", differs: {version: \"2\"}}\n"
	wantFiles(t, w, pins, before+added)
	if _, err := w.Bump(t.Context(), "assets.fw", "1.1"); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, w, strings.Replace(pins, "1.0", "1.1", 1), head+added)
}

// A Go module comes from the proxy; it does not move until the repository answers, which
// knows the commit of its tag: without that, nothing could be built from it.
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
		t.Errorf("status %+v", s)
	}
	if _, err := w.Bump(t.Context(), "mod", ""); err == nil || !strings.Contains(err.Error(), "looking up the pin commit of v1.1.0") {
		t.Error(err)
	}
	commit := w.tag(t, "mod", "v1.1.0", nil)
	pins, _ := w.read(t)
	write(t, w.Path, strings.Replace(pins, "http://127.0.0.1:1/mod", w.url+"/git/mod", 1))
	again := &Bumper{Path: w.Path, Lock: w.Lock, Sources: w.Sources}
	if _, err := again.Bump(t.Context(), "mod", ""); err != nil {
		t.Fatal(err)
	}
	if _, lock := w.read(t); !strings.Contains(lock, `pins: {commit: "`+commit+`"}`) || !strings.Contains(lock, `version: "v1.1.0"}`) || !strings.Contains(lock, "unchecked: true") || strings.Count(lock, zero) != 1 {
		t.Errorf("lock:\n%s", lock)
	}
}

// A crate comes from the registry of crates, which lists its checksum. A yanked version is
// not newest.
func TestBumpCrate(t *testing.T) {
	w := newWorld(t, "assets:\n  c: {version: \"v1.0.0\"}\n", "assets.c:\n  \"v1.0.0\":\n    c:\n      - name: crates\n        cargo: {crate: server, version: 1.0.0}\n        sha256: "+zero+"\n")
	home := t.TempDir()
	write(t, filepath.Join(home, "config.toml"), "[source.crates-io]\nreplace-with = \"ours\"\n[source.ours]\nregistry = \"sparse+"+w.url+"/files/index\"\n")
	w.Sources.Cargo = cargo.Config{Home: home}
	w.files["index/config.json"] = `{"dl": "` + w.url + `/files/dl/{crate}/{version}"}`
	for _, v := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		crate := packed(t, "server-"+v, map[string]string{
			"Cargo.toml": "[package]\nname = \"server\"\nversion = \"" + v + "\"\n", "Cargo.lock": "version = 4\n[[package]]\nname = \"server\"\nversion = \"" + v + "\"\n",
		})
		w.files["dl/server/"+v] = crate
		w.files["index/se/rv/server"] += fmt.Sprintf(`{"name":"server","vers":%q,"cksum":%q,"yanked":%v,"deps":[]}`+"\n", v, hash(crate), v == "1.2.0")
	}
	if s := check(t, w); s.Newest != "v1.1.0" || len(s.Silent) > 0 {
		t.Errorf("status %+v", s)
	}
	moved, err := w.Bump(t.Context(), "c", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, lock := w.read(t); !strings.Contains(lock, "cargo: {crate: server, version: 1.1.0}") || strings.Contains(lock, "unchecked") || strings.Count(lock, zero) != 1 {
		t.Errorf("lock:\n%s", lock)
	}
	if len(moved) != 1 || !strings.Contains(moved[0].Places[0].Checked, "Cargo.lock") {
		t.Errorf("moved %+v", moved)
	}
}

// packed returns a crate with these files.
func packed(t *testing.T, folder string, files map[string]string) string {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	for name, text := range files {
		if err := archive.WriteHeader(&tar.Header{Name: folder + "/" + name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), compressed.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Of all that is behind, one with a moved tag stays, and is the error; the others move.
func TestBumpAll(t *testing.T) {
	w := newWorld(t, "assets:\n  a: {version: \"v1\"}\n  b: {version: \"1.0\"}\n  c: {version: \"1.0\"}\n", `assets.a:
  "v1":
    a: [{name: git, git: {url: "URL/git/a", commit: "0123456789012345678901234567890123456789"}}]
assets.b:
  "1.0":
    b: [{name: up, url: "URL/files/b-1.0.tar", sha256: "`+zero+`"}]
assets.c:
  "1.0":
    c: [{name: up, url: "URL/files/c-1.0.tar", sha256: "`+zero+`"}]
    fixed: [{name: up, url: "URL/files/fixed.tar", sha256: "`+zero+`"}]
`)
	today := w.tag(t, "a", "v1", nil)
	w.tag(t, "a", "v2", nil)
	for _, name := range []string{"b", "c"} {
		w.files[name+"-1.1.tar"], w.files[name+"-1.1.tar.sha256"] = name, hash(name)
	}
	moved, err := w.Bump(t.Context(), "", "")
	var tag *MovedTagError
	if !errors.As(err, &tag) || tag.Today != today || !strings.HasPrefix(err.Error(), "bumping assets.a: ") {
		t.Errorf("error %v", err)
	}
	got := Text(moved)
	for _, want := range []string{"assets.a: stays at v1: ", "assets.b: 1.0 -> 1.1\n", "checked: b-1.1.tar.sha256\n", "assets.c: stays at 1.0: no place has source fixed of 1.1", "fixed up: it names no version"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if pins, _ := w.read(t); !strings.Contains(pins, `b: {version: "1.1", differs: {version: "1.0"}}`) || !strings.Contains(pins, `c: {version: "1.0"}`) {
		t.Errorf("pins:\n%s", pins)
	}
	if got := Markdown(moved); !strings.Contains(got, "| `assets.b` | `1.0` | `1.1` |\n") || !strings.Contains(got, "### Not moved\n\n- `assets.a` at `v1`: ") {
		t.Errorf("markdown:\n%s", got)
	}
}

// A hash that was unknown is learned for the same version, and one that cannot be had stays
// unknown.
func TestBumpUnknownHash(t *testing.T) {
	w := newWorld(t, "assets:\n  t: {version: \"1.0\"}\n", "assets.t:\n  \"1.0\":\n    t:\n      - name: up\n        url: URL/files/t-1.0.tar\n        sha256: unknown\n    u: [{name: up, url: \"URL/files/u-1.0.tar\", sha256: unknown}]\n")
	wantRefusal(t, w, "t", "1.0", "nothing more of 1.0 can be looked up, so nothing was written", "404 Not Found")
	w.files["t-1.0.tar"] = "tool"
	if s := check(t, w); !s.Behind || s.Newest != "1.0" {
		t.Errorf("status %+v", s)
	}
	if _, err := w.Bump(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, w, "assets:\n  t: {version: \"1.0\"}\n", "assets.t:\n  \"1.0\":\n    t:\n      - name: up\n        url: URL/files/t-1.0.tar\n        sha256: "+hash("tool")+"\n        unchecked: true\n    u: [{name: up, url: \"URL/files/u-1.0.tar\", sha256: unknown}]\n")
	if s := check(t, w); !s.Behind {
		t.Errorf("it is not behind: %+v", s)
	}
}

// What has no order is only moved to a version that a person gives, and not by its pattern.
func TestBumpCommit(t *testing.T) {
	commit := strings.Repeat("a", 39) + "1"
	w := newWorld(t, "assets:\n  c: {version: \"v6.15.0-"+commit+"\"}\n", "assets.c:\n  \"v6.15.0-"+commit+"\":\n    c: [{name: up, git: {url: \"URL/git/c\", commit: "+commit+"}}]\n")
	wantRefusal(t, w, "c", "", "a commit has no newer version: give one")
	wantRefusal(t, w, "c", "v6.16.0", "is a commit, so places of another version cannot be derived from its own: write them by hand")
	if moved, err := w.Bump(t.Context(), "", ""); err != nil || len(moved) > 0 {
		t.Errorf("moved %+v, %v", moved, err)
	}
}

// Where no place answers, nothing is known to be newest.
func TestBumpSilence(t *testing.T) {
	w := toolWorld(t)
	pins, lock := w.read(t)
	write(t, w.Lock, strings.ReplaceAll(lock, "URL", "http://127.0.0.1:1"))
	w.Sources.Debian = nil
	moved, err := w.Bump(t.Context(), "", "")
	if err == nil || !strings.Contains(err.Error(), "no place answered") {
		t.Errorf("error %v", err)
	}
	if got := Text(moved); !strings.HasPrefix(got, "assets.tool: stays at v1.2.0: no place lists its versions") {
		t.Errorf("moved:\n%s", got)
	}
	wantFiles(t, w, pins, strings.ReplaceAll(lock, "URL", "http://127.0.0.1:1"))
}

// Some servers answer for every file with a page.
func TestBumpPage(t *testing.T) {
	w := toolWorld(t)
	w.files["tool/v1.x/tool-1.2.9.tar.xz"] = "\n<!DOCTYPE html><html>Log in</html>"
	wantRefusal(t, w, "tool", "v1.2.9", "tool-1.2.9.tar.xz: the server answered with a web page in place of the file")
}

// A pin that has the version already does not move.
func TestBumpInPlace(t *testing.T) {
	w := toolWorld(t)
	if moved, err := w.Bump(t.Context(), "tool", "1.2.0"); err != nil || len(moved) > 0 {
		t.Errorf("moved %+v, %v", moved, err)
	}
}

// A link to a file of pins stays one.
func TestBumpThroughLink(t *testing.T) {
	w := toolWorld(t)
	target := w.Path + ".kata"
	if err := errors.Join(os.Rename(w.Path, target), os.Symlink(target, w.Path)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Bump(t.Context(), "tool", "1.3.0"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(target)
	if info, statErr := os.Lstat(w.Path); err != nil || statErr != nil || info.Mode().IsRegular() || !strings.Contains(string(data), "v1.3.0") {
		t.Errorf("%v, %v, %v\n%s", info, err, statErr, data)
	}
}
