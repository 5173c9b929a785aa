package debian

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// fakeApt has an index after the first update, with qemu 10 in it.
const fakeApt = `
echo "$*" >> "$here/calls"
case "$*" in
*update) [ -e "$here/down" ] && { echo 'E: Failed to fetch http://user:secret@m.example/debian' >&2; exit 100; }; touch "$here/index" ;;
*'source qemu=1:10+ds-1')
	[ -e "$here/index" ] || { echo 'E: You must put some deb-src URIs in your sources.list' >&2; exit 100; }
	echo 'Reading package lists...'
	echo "'http://m.example/debian/pool/qemu_10%2bds-1.dsc' qemu_10+ds-1.dsc 12 SHA256:aa"
	echo "'http://user:secret@m.example/debian/pool/qemu_10%2bds.orig.tar.xz' qemu_10+ds.orig.tar.xz 34 SHA256:bb" ;;
*) echo "E: Can not find version" >&2; exit 100 ;;
esac
`

// archiveKeys skips the test if the keys of the Debian archive are not installed.
func archiveKeys(t *testing.T) {
	if _, err := os.Stat(keyring); err != nil {
		t.Skipf("the keys of the Debian archive are not installed: %v", err)
	}
}

func updates(t *testing.T, dir string) int {
	data, err := os.ReadFile(filepath.Join(dir, "calls"))
	require.NoError(t, err)
	return strings.Count(string(data), " update\n")
}

func TestSource(t *testing.T) {
	archiveKeys(t)
	dir := program(t, "apt-get", fakeApt)
	r := &Resolver{StateDir: t.TempDir(), Mirror: "http://m.example/debian"}
	want := Archive{"qemu_10+ds.orig.tar.xz", "http://user:secret@m.example/debian/pool/qemu_10%2bds.orig.tar.xz", "bb", 34}
	for range 2 {
		got, err := r.Source(t.Context(), "qemu", "1:10+ds-1", "sid", want.Name)
		if err != nil || got != want {
			t.Fatalf("archive %+v, %v, want %+v", got, err, want)
		}
	}
	if n := updates(t, dir); n != 1 {
		t.Errorf("%d updates, want 1", n)
	}
	list, err := os.ReadFile(filepath.Join(r.StateDir, "sid", "sources.list"))
	if want := "deb-src [signed-by=" + keyring + "] http://m.example/debian sid main\n"; err != nil || string(list) != want {
		t.Errorf("sources.list %q, %v, want %q", list, err, want)
	}
}

func TestSourceErrors(t *testing.T) {
	archiveKeys(t)
	dir := program(t, "apt-get", fakeApt)
	r := &Resolver{StateDir: t.TempDir(), Mirror: "http://m.example/debian"}
	for name, test := range map[string]struct {
		pkg, version, suite, file string
		want                      []string
	}{
		"file":         {"qemu", "1:10+ds-1", "sid", "qemu_10+ds.orig.tar.gz", []string{`no file "qemu_10+ds.orig.tar.gz"`, `did you mean "qemu_10+ds.orig.tar.xz"?`}},
		"version":      {"qemu", "9", "sid", "x", []string{"qemu 9 in sid", "Can not find version"}},
		"package":      {"-oDir=/", "9", "sid", "x", []string{`"-oDir=/" is not the name of a Debian source package`}},
		"suite":        {"qemu", "9", "../sid", "x", []string{`"../sid" is not the name of a Debian suite`}},
		"version form": {"qemu", "9 -o", "sid", "x", []string{`"9 -o" is not the name of a Debian version`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Source(t.Context(), test.pkg, test.version, test.suite, test.file)
			for _, part := range test.want {
				require.Error(t, err, part)
			}
		})
	}
	require.WriteFile(t, filepath.Join(dir, "down"), "")
	_, err := r.Source(t.Context(), "qemu", "9", "sid", "x")
	if err == nil || !strings.Contains(err.Error(), "fetching the index") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestSourceWithoutMirror(t *testing.T) {
	program(t, "apt-get", "exit 0") // None of its indexes is Debian's.
	_, err := (&Resolver{StateDir: t.TempDir()}).Source(t.Context(), "qemu", "9", "sid", "x")
	require.Error(t, err, "no Debian mirror")
}

func TestSourceStops(t *testing.T) {
	archiveKeys(t)
	program(t, "apt-get", "exec sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := (&Resolver{StateDir: t.TempDir(), Mirror: "http://m.example"}).Source(ctx, "qemu", "9", "sid", "x")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 5*time.Second {
		t.Errorf("error %v after %s", err, time.Since(begin))
	}
}

func TestParseURIsRefuses(t *testing.T) {
	for _, line := range []string{"'http://m/x' x 1", "'http://m/x' x big SHA256:aa", "'http://m/x' x 1 MD5Sum:aa"} {
		if archives, err := parseURIs(line + "\n"); err == nil {
			t.Errorf("parseURIs(%q) = %+v, want an error", line, archives)
		}
	}
}

// Versions come in dpkg's order, each once; Refresh fetches an index once.
func TestVersions(t *testing.T) {
	archiveKeys(t)
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skipf("dpkg is not installed: %v", err)
	}
	dir := program(t, "apt-get", fakeApt)
	entries := "Package: qemu\nVersion: 1:10.2.2+ds-1\nPackage-List: \n qemu deb x\n\nPackage: qemu\nVersion: 1:9.9\n\n" +
		"Package: qemu\nVersion: 1:11~rc1-1\n\nPackage: qemu\nVersion: 1:11-1\n\nPackage: qemu\nVersion: 1:10.10-1\n\nPackage: qemu\nVersion: 1:9.9\n\n"
	require.WriteFile(t, filepath.Join(dir, "entries"), entries)
	script := "#!/bin/sh\n[ \"${*#*showsrc --only-source qemu}\" = '' ] || { echo 'E: no package' >&2; exit 100; }\ncat " + dir + "/entries\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "apt-cache"), []byte(script), 0o755))
	r := &Resolver{StateDir: t.TempDir(), Mirror: "http://m.example/debian"}
	got, err := r.Versions(t.Context(), "qemu", "sid")
	want := []string{"1:9.9", "1:10.2.2+ds-1", "1:10.10-1", "1:11~rc1-1", "1:11-1"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("versions %v, %v, want %v", got, err, want)
	}
	if _, err := r.Versions(t.Context(), "none", "sid"); err == nil || !strings.Contains(err.Error(), "the Debian source package none in sid") {
		t.Errorf("error %v", err)
	}
	for range 2 {
		require.NoError(t, r.Refresh(t.Context(), "sid"))
	}
	if n := updates(t, dir); n != 1 {
		t.Errorf("%d updates, want 1", n)
	}
	if err := r.Refresh(t.Context(), "../sid"); err == nil || !strings.Contains(err.Error(), "not the name of a Debian suite") {
		t.Errorf("error %v", err)
	}
}
