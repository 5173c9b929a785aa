package engine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

func TestAvailable(t *testing.T) {
	r := recipe.Builder{Distribution: "debian", Suite: "trixie", Packages: []string{"gdb", "straece"}}
	if err := available(r, "gdb 16\ngdb 15\n"); err == nil || err.Error() != "debian trixie does not have the packages straece: correct their names in its parts" {
		t.Error(err)
	}
	r.Locked = []recipe.Locked{{Name: "gdb", Version: "14"}, {Name: "gdb", Version: "15"}, {Name: "libc6", Version: "2"}}
	want := "debian trixie does not have the locked packages gdb=14, libc6=2 any more: run `pipelines rootfs lock`"
	if err := available(r, "gdb 16\ngdb 15\n"); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
	if err := available(r, "gdb 14\ngdb 15\nlibc6 2\n"); err != nil {
		t.Error(err)
	}
}

func TestLockHolds(t *testing.T) {
	installed, err := parseInstalled("b 2 sha256:bb 20\na 1 sha256:aa 10\nc 3 sha256:cc 5\n")
	require.NoError(t, err)
	locked := []recipe.Locked{{Name: "a", Version: "1", Hash: "sha256:aa"}, {Name: "b", Version: "2", Hash: "sha256:b0"}, {Name: "d", Version: "4", Hash: "sha256:dd"}}
	want := "the root differs from its lock: b is 2 sha256:bb, and locked is 2 sha256:b0; c 3 is not locked; d 4 is locked, and not installed; run `pipelines rootfs lock`"
	if err := lockHolds(locked, installed); err == nil || err.Error() != want {
		t.Error(err)
	}
	if err := lockHolds(nil, installed); err != nil {
		t.Error(err)
	}
	b := Builder{Installed: installed}
	if largest := b.record().Largest; strings.Join(largest, ";") != "b=2 20;a=1 10;c=3 5" {
		t.Errorf("largest %v", largest)
	}
	for _, text := range []string{"", "a 1 x\n", "a 1 x y\n"} {
		if _, err := parseInstalled(text); err == nil {
			t.Errorf("read %q", text)
		}
	}
}

// database is that of apk, with files in a folder.
const database = `C:Q1aaa=
P:bash
V:5.2-r0
I:1000
F:DIR
F:DIR/bin
R:bash

C:Q1bbb=
P:apk-tools
V:2.14-r0
I:300
F:DIR
F:DIR/sbin
R:apk
F:DIR/bin

`

// TestRootScript installs packages with a stand-in of apk.
func TestRootScript(t *testing.T) {
	for _, test := range []struct{ verb, remove, packages, left, gone string }{
		{"install", "apk-tools scanelf", "bash", "bash 5.2-r0 Q1aaa= 1000\n", "sbin/apk"},
		{"install", "", "bash", "apk-tools 2.14-r0 Q1bbb= 300\nbash 5.2-r0 Q1aaa= 1000\n", ""},
		{"restore", "", "bash=5.2-r0", "bash 5.2-r0 Q1aaa= 1000\n", "sbin/apk"},
	} {
		dir := t.TempDir()
		files := map[string]string{
			"apk": "#!/bin/sh\necho \"$@\" >>" + dir + "/calls\n", "bin/bash": "x", "sbin/apk": "x",
			"db/installed": strings.ReplaceAll(database, "DIR", strings.TrimPrefix(dir, "/")), "tmp/x": "",
		}
		for name, text := range files {
			path := filepath.Join(dir, name)
			require.NoError(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)))
		}
		script := strings.NewReplacer("/lib/apk/db", dir+"/db", "/var/cache/apk", dir+"/cache", "/etc/apk", dir+"/cache", "/.packages", dir+"/.packages", "/tmp/", dir+"/tmp/").Replace(rootScript)
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", script, "root", "apk", test.verb}, strings.Fields(test.packages)...)...)
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "REMOVE=" + test.remove}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", test, err, out)
		}
		left, err := os.ReadFile(filepath.Join(dir, ".packages"))
		if err != nil || string(left) != test.left {
			t.Errorf("%v: left %q, %v", test, left, err)
		}
		for _, name := range []string{"bin/bash", "sbin/apk", "sbin"} {
			_, err := os.Stat(filepath.Join(dir, name))
			if gone := test.gone != "" && name != "bin/bash"; gone != errors.Is(err, os.ErrNotExist) {
				t.Errorf("%v: %s: %v", test, name, err)
			}
		}
		db, err := os.ReadFile(filepath.Join(dir, "db/installed"))
		if err != nil || !strings.Contains(string(db), "P:bash\n") || strings.Contains(string(db), "P:apk-tools") != (test.gone == "") {
			t.Errorf("%v: database %v\n%s", test, err, db)
		}
	}
}

// rpmOf builds a package with one file, and installs it into the database of the macros in HOME.
func rpmOf(t *testing.T, home, name, file string) {
	t.Helper()
	spec := filepath.Join(home, name+".spec")
	text := "Name: " + name + "\nVersion: 1.2\nRelease: 3.azl3\nSummary: s\nLicense: l\nBuildArch: noarch\n%description\n%install\nmkdir -p %{buildroot}" + filepath.Dir(file) +
		"\necho hello >%{buildroot}" + file + "\n%files\n" + file + "\n"
	if err := os.WriteFile(spec, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	script := "rpmbuild -bb --quiet --define '_topdir " + home + "/build' " + spec + " && rpm --install --nodeps " + home + "/build/RPMS/noarch/" + name + "-*.rpm"
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestRootScriptRPM lists and removes packages of a real database, with a stand-in of tdnf.
func TestRootScriptRPM(t *testing.T) {
	for _, program := range []string{"rpm", "rpmbuild"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	home, kept, gone := filepath.Join(dir, "home"), filepath.Join(dir, "bin/kept"), filepath.Join(dir, "sbin/tdnf")
	for path, text := range map[string]string{
		filepath.Join(dir, "tdnf"): "#!/bin/sh\nexit 0\n", filepath.Join(dir, "tmp/x"): "",
		filepath.Join(home, ".rpmmacros"): "%_dbpath " + dir + "/db\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	rpmOf(t, home, "kept", kept)
	rpmOf(t, home, "tdnf", gone)
	script := strings.NewReplacer("/.packages", dir+"/.packages", "/tmp/", dir+"/tmp/").Replace(rootScript)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script, "root", "tdnf", "install", "kept")
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + home, "REMOVE=tdnf"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, ".packages"))
	if err != nil {
		t.Fatal(err)
	}
	left, err := parseInstalled(string(text))
	if err != nil || len(left) != 1 || left[0].Name != "kept" || left[0].Version != "1.2-3.azl3" || !regexp.MustCompile("^sha256:[0-9a-f]{64}$").MatchString(left[0].Hash) {
		t.Errorf("left %q, %+v, %v", text, left, err)
	}
	_, errKept := os.Stat(kept)
	_, errGone := os.Stat(gone)
	if errKept != nil || !errors.Is(errGone, os.ErrNotExist) {
		t.Errorf("the files of the packages: %v, %v", errKept, errGone)
	}
	query := exec.CommandContext(t.Context(), "rpm", "-qa")
	query.Env = cmd.Env
	if out, err := query.Output(); err != nil || string(out) != "kept-1.2-3.azl3.noarch\n" {
		t.Errorf("the database has %q, %v", out, err)
	}
}
