package foreign

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// item is a member of an archive made here.
type item struct {
	name, content string
	mode          int64
	kind          byte
	link          string
}

var program = "\x7fELF a program"

// release has the shape of an upstream's release.
var release = []item{
	{name: "./", kind: tar.TypeDir},
	{name: "./v1/", kind: tar.TypeDir},
	{name: "./v1/tool", content: program, mode: 0o4755},
	{name: "./v1/tool-also", kind: tar.TypeLink, link: "./v1/tool"},
	{name: "./v1/current", kind: tar.TypeSymlink, link: "tool"},
	{name: "./v1/README", content: "text", mode: 0o600},
	{name: "./v1/conf/", kind: tar.TypeDir},
	{name: "./v1/conf/a.toml", content: "a", mode: 0o644},
	{name: "./v1/conf/sub/", kind: tar.TypeDir},
	{name: "./v1/conf/sub/b.toml", content: "b", mode: 0o644},
	{name: "./v1/conf/sub/99-c.toml", content: "c", mode: 0o644},
	{name: "./v1/conf.d/", kind: tar.TypeDir},
	{name: "./v1/host", kind: tar.TypeSymlink, link: "/etc/passwd"},
	{name: "./v1/pipe", kind: tar.TypeFifo},
}

func tarOf(t testing.TB, items []item) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Mode: cmp.Or(i.mode, 0o755), Typeflag: cmp.Or(i.kind, tar.TypeReg), Size: int64(len(i.content)), Linkname: i.link}
		require.NoError(t, w.WriteHeader(h))
		_, err := io.WriteString(w, i.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func zipOf(t testing.TB, items []item, modes bool) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, i := range items {
		if i.kind == tar.TypeLink || i.kind == tar.TypeFifo || i.name == "./" {
			continue
		}
		h := &zip.FileHeader{Name: strings.TrimPrefix(i.name, "./"), Method: zip.Deflate}
		if modes {
			h.SetMode(fs.FileMode(cmp.Or(i.mode, 0o755) & 0o777))
		}
		if i.kind == tar.TypeSymlink {
			h.SetMode(fs.ModeSymlink | 0o777)
			i.content = i.link
		}
		to, err := w.CreateHeader(h)
		require.NoError(t, err)
		_, err = io.WriteString(to, i.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func packed(t testing.TB, writer func(io.Writer) (io.WriteCloser, error), data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := writer(&out)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func inZstd(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
func inGzip(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }
func inXZ(w io.Writer) (io.WriteCloser, error)   { return xz.NewWriter(w) }

// shown lists what is in a folder: modes, paths, contents.
func shown(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	root := os.DirFS(dir)
	require.NoError(t, fs.WalkDir(root, ".", func(name string, item fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := item.Info()
		require.NoError(t, err)
		content := ""
		switch {
		case info.Mode().Type() == fs.ModeSymlink:
			content, err = fs.ReadLink(root, name)
			content = "-> " + content
		case info.Mode().IsRegular():
			var data []byte
			data, err = fs.ReadFile(root, name)
			content = fmt.Sprintf("%04o %q", info.Mode().Perm(), data)
		}
		require.NoError(t, err)
		lines = append(lines, strings.TrimSpace(name+" "+content))
		return nil
	}))
	return strings.Join(lines, "\n")
}

var members = []Member{
	{From: "v1/tool", To: "opt/kata/bin/tool"},
	{From: "v1/current", To: "opt/kata/bin/tool-current"},
	{From: "v1/READ*", To: "opt/kata/share/doc", Mode: 0o755},
	{From: "v1/conf/**", To: "opt/kata/share/conf/"},
}

// TestFormats takes the same members out of every format.
func TestFormats(t *testing.T) {
	plain := tarOf(t, release)
	taken := append(slices.Clone(members[:1]), Member{From: "v1/current", To: "opt/kata/bin/current"})
	taken = append(taken, members[2:]...)
	taken = append(taken, Member{From: "v1/conf.d/", To: "opt/kata/share/conf.d/"})
	const want = `opt
opt/kata
opt/kata/bin
opt/kata/bin/current -> tool
opt/kata/bin/tool 0755 "\x7fELF a program"
opt/kata/share
opt/kata/share/conf
opt/kata/share/conf/a.toml 0644 "a"
opt/kata/share/conf/sub
opt/kata/share/conf/sub/99-c.toml 0644 "c"
opt/kata/share/conf/sub/b.toml 0644 "b"
opt/kata/share/conf.d
opt/kata/share/doc 0755 "text"`
	for name, data := range map[string][]byte{
		"tar": plain, "zstd": packed(t, inZstd, plain), "gzip": packed(t, inGzip, plain), "xz": packed(t, inXZ, plain),
		"zip": zipOf(t, release, true), "zip without modes": zipOf(t, release, false),
	} {
		dir := t.TempDir()
		got, err := Extract(t.Context(), bytes.NewReader(data), taken, dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if shown(t, dir) != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, shown(t, dir), want)
		}
		hashed, err := Extract(t.Context(), bytes.NewReader(data), taken, "")
		if err != nil || Sum(hashed) != Sum(got) {
			t.Errorf("%s: only hashed it is %s, %v", name, Sum(hashed), err)
		}
		again := t.TempDir()
		folder, err := ExtractFolder(t.Context(), dir, installed(taken), again)
		if err != nil || shown(t, again) != want || Sum(folder) != Sum(got) {
			t.Errorf("%s, taken out of the folder again: %v\n%s", name, err, shown(t, again))
		}
	}
}

// TestAll takes everything, to the root.
func TestAll(t *testing.T) {
	dir, again := t.TempDir(), t.TempDir()
	all := []Member{{From: "**", To: "/"}}
	taken, err := Extract(t.Context(), bytes.NewReader(tarOf(t, release[1:len(release)-2])), all, dir)
	require.NoError(t, err)
	if want := "v1/tool-also 0755 \"\\x7fELF a program\""; !strings.Contains(shown(t, dir), want) {
		t.Errorf("%s, want %s among them", shown(t, dir), want)
	}
	folder, err := ExtractFolder(t.Context(), dir, all, again)
	require.NoError(t, err)
	if len(folder) != len(taken) || shown(t, again) != shown(t, dir) {
		t.Errorf("%d members, want %d:\n%s", len(folder), len(taken), shown(t, again))
	}
}

// TestIsProgram tells programs from what else is at a path.
func TestIsProgram(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"elf": []byte(program), "script": []byte("#!/bin/sh"), "xz": packed(t, inXZ, []byte(program)),
		"tar": tarOf(t, release), "zstd": packed(t, inZstd, tarOf(t, release)), "text": []byte("text"), "empty": nil,
	} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, content, 0o600))
		got, err := IsProgram(file)
		if want := name == "elf" || name == "script" || name == "xz"; err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := IsProgram(dir); got || err != nil {
		t.Errorf("a folder: %v, %v", got, err)
	}
	if _, err := IsProgram(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that does not exist is no error")
	}
}

// installed are the members of what was taken before.
func installed(members []Member) []Member {
	members = slices.Clone(members)
	for i := range members {
		members[i].Installed = true
	}
	return members
}

// TestPrograms takes programs that are not in an archive.
func TestPrograms(t *testing.T) {
	for name, test := range map[string]struct {
		content []byte
		member  Member
		want    string
	}{
		"ELF":        {[]byte(program), Member{From: Program, To: "bin/a"}, "bin\nbin/a 0755 \"\\x7fELF a program\""},
		"script":     {[]byte("#!/bin/sh"), Member{From: Program, To: "bin/a"}, "bin\nbin/a 0755 \"#!/bin/sh\""},
		"compressed": {packed(t, inXZ, []byte(program)), Member{From: Program, To: "bin/a"}, "bin\nbin/a 0755 \"\\x7fELF a program\""},
		"declared":   {[]byte(program), Member{From: Program, To: "bin/a", Mode: 0o644}, "bin\nbin/a 0644 \"\\x7fELF a program\""},
		"in place of an archive": {
			[]byte(program), Member{From: "v1/tool", To: "bin/a", Installed: true}, "bin\nbin/a 0755 \"\\x7fELF a program\"",
		},
	} {
		dir := t.TempDir()
		if _, err := Extract(t.Context(), bytes.NewReader(test.content), []Member{test.member}, dir); err != nil || shown(t, dir) != test.want {
			t.Errorf("%s: %v, %s", name, err, shown(t, dir))
		}
	}
}

// TestHardLinks copies the file that a hard link names.
func TestHardLinks(t *testing.T) {
	dir := t.TempDir()
	both := []Member{{From: "v1/tool*", To: "bin/"}}
	if _, err := Extract(t.Context(), bytes.NewReader(tarOf(t, release)), both, dir); err != nil {
		t.Fatal(err)
	}
	if want := "bin\nbin/tool 0755 \"\\x7fELF a program\"\nbin/tool-also 0755 \"\\x7fELF a program\""; shown(t, dir) != want {
		t.Error(shown(t, dir))
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), nil, 0o644))
	all := []Member{{From: "**", To: "opt/"}}
	_, inTar := Extract(ctx, bytes.NewReader(tarOf(t, release)), all, "")
	_, inZip := Extract(ctx, bytes.NewReader(zipOf(t, release, true)), all, "")
	_, inFolder := ExtractFolder(ctx, dir, all, "")
	for _, err := range []error{inTar, inZip, inFolder} {
		if err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
			t.Errorf("%v, want %v", err, context.Canceled)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a", "a/b", false}, {"*", "a/b", false}, {"a/*", "a/b", true},
		{"a/**", "a/b/c", true}, {"a/**", "a", true}, {"**/c", "a/b/c", true}, {"a/**/c", "a/c", true}, {"a/**/c", "b/c", false},
		{"a-[0-9]", "a-1", true}, {"a-?", "a-", false}, {"**", "x", true},
	} {
		if Match(test.pattern, test.name) != test.want {
			t.Errorf("%s, %s: want %v", test.pattern, test.name, test.want)
		}
	}
	for _, test := range []struct{ from, to, want string }{
		{"a/b", "opt/c", "opt/c"}, {"**", "/", "/**"}, {"a/b", "opt/", "opt/b"}, {"a/*.toml", "opt/", "opt/*.toml"}, {"a/**/x", "opt/", "opt/**/x"}, {"a/", "opt/a/", "opt/a/"},
	} {
		if got := (Member{From: test.from, To: test.to}).Target(); got != test.want {
			t.Errorf("%s to %s: %s, want %s", test.from, test.to, got, test.want)
		}
	}
}
