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
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
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
		ok(t, w.WriteHeader(h))
		_, err := io.WriteString(w, i.content)
		ok(t, err)
	}
	ok(t, w.Close())
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
		ok(t, err)
		_, err = io.WriteString(to, i.content)
		ok(t, err)
	}
	ok(t, w.Close())
	return out.Bytes()
}

func packed(t testing.TB, writer func(io.Writer) (io.WriteCloser, error), data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := writer(&out)
	ok(t, err)
	_, err = w.Write(data)
	ok(t, err)
	ok(t, w.Close())
	return out.Bytes()
}

func inZstd(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
func inGzip(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }
func inXZ(w io.Writer) (io.WriteCloser, error)   { return xz.NewWriter(w) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shown lists what is in a folder: modes, paths, contents.
func shown(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	root := os.DirFS(dir)
	ok(t, fs.WalkDir(root, ".", func(name string, item fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := item.Info()
		ok(t, err)
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
		ok(t, err)
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
	ok(t, err)
	if want := "v1/tool-also 0755 \"\\x7fELF a program\""; !strings.Contains(shown(t, dir), want) {
		t.Errorf("%s, want %s among them", shown(t, dir), want)
	}
	folder, err := ExtractFolder(t.Context(), dir, all, again)
	ok(t, err)
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
		ok(t, os.WriteFile(file, content, 0o600))
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

// TestRefused: each of these is an error that names what is wrong.
func TestRefused(t *testing.T) {
	with := func(more ...item) []byte { return tarOf(t, slices.Concat(more, release)) }
	plain := tarOf(t, release)
	one := func(from, to string) []Member { return []Member{{From: from, To: to}} }
	for want, test := range map[string]struct {
		archive []byte
		members []Member
	}{
		`no member "v2/tool"; it has "v1/tool"`:        {plain, one("v2/tool", "bin/tool")},
		`no member "v1/toll"; did you mean "v1/tool"?`: {plain, one("v1/toll", "bin/tool")},
		`no member "something/else" among its 13`:      {plain, one("something/else", "bin/tool")},
		`no member "a"`:               {plain, []Member{{From: "v1/tool", To: "b"}, {From: "a", To: "c"}}},
		`nothing matches "v1/*.yaml"`: {plain, one("v1/*.yaml", "share/")},
		`"v1/conf" is a folder in the archive: select what is in it with "v1/conf/**"`: {plain, one("v1/conf", "share/conf/")},
		`"v1/tool*" selects several members, such as v1/tool and v1/tool-also: name one of them, or end bin/tool with a slash to keep all in that folder`: {
			plain, one("v1/tool*", "bin/tool"),
		},
		`v1/tool and v1/README of the archive both become a`: {plain, []Member{{From: "v1/tool", To: "a"}, {From: "v1/README", To: "a"}}},
		`v1/current of the archive links to tool, which is not among the selected members: select its target as well, or leave it out`: {
			plain, one("v1/current", "bin/current"),
		},
		`v1/host of the archive links to /etc/passwd, which is not among the selected members`: {plain, one("v1/host", "bin/host")},
		`v1/out of the archive links to ../../etc/passwd, which is not`: {
			with(item{name: "v1/out", kind: tar.TypeSymlink, link: "../../etc/passwd"}), one("v1/out", "bin/out"),
		},
		`v1/a of the archive links to b, and that back to itself: leave it out`: {
			with(item{name: "v1/a", kind: tar.TypeSymlink, link: "b"}, item{name: "v1/b", kind: tar.TypeSymlink, link: "a"}), one("v1/?", "bin/"),
		},
		`v1/x and v1/x/y of the archive cannot both be taken: bin/v1/x would be a folder and something else; select one of them`: {
			with(item{name: "v1/x"}, item{name: "v1/x/y"}), one("**", "bin/"),
		},
		`v1/x/y and v1/x of the archive cannot both be taken: bin/v1/x would be a folder and something else`: {
			with(item{name: "v1/x/y"}, item{name: "v1/x", kind: tar.TypeSymlink, link: "tool"}), one("**", "bin/"),
		},
		`v1/same of the archive both become bin/same`:             {with(item{name: "v1/same"}, item{name: "v1/same"}), one("v1/s*", "bin/")},
		`v1/own: it is a hard link to v1/own, which is not among`: {with(item{name: "v1/own", kind: tar.TypeLink, link: "v1/own"}), one("v1/own", "bin/own")},
		`v1/self of the archive links to self`:                    {with(item{name: "v1/self", kind: tar.TypeSymlink, link: "self"}), one("v1/self", "bin/self")},
		`taking v1/tool-also: it is a hard link to ./v1/tool, which is not among the selected members: select that`: {
			plain, one("v1/tool-also", "bin/tool"),
		},
		`taking v1/pipe: it is not a file, a folder or a link`:                                  {plain, one("v1/pipe", "bin/pipe")},
		`the archive has a member "/etc/passwd": want relative names that stay inside it`:       {with(item{name: "/etc/passwd"}), one("v1/tool", "a")},
		`the archive has a member "../etc/passwd": want relative names that stay inside it`:     {with(item{name: "../etc/passwd"}), one("v1/tool", "a")},
		`the archive has a member "v1/../../passwd": want relative names that stay inside it`:   {with(item{name: "v1/../../passwd"}), one("v1/tool", "a")},
		`"v1/tool" selects several members, such as v1/tool and v1/tool`:                        {with(item{name: "v1/tool"}), []Member{{From: "v1/tool", To: "a"}, {From: "v1/README", To: "b"}}},
		`want a tar in zstd, gzip, xz or plain, a zip, or a program, but it begins with "text"`: {[]byte("text"), one("a", "b")},
		`but it begins with ""`:                                                                 {nil, one("a", "b")},
		`reading the tar after 2 members: unexpected EOF`:                                       {plain[:1600], one("v1/README", "a")},
		`it is a program, not an archive that has "v1/tool"`:                                    {[]byte(program), one("v1/tool", "a")},
		`"." is a program that is not packed, but it is an archive: name one of its 13 members`: {plain, one(".", "a")},
		`reading the zip: zip: not a valid zip file`:                                            {[]byte("PK\x03\x04 and no more"), one("a", "b")},
		`decompressing the archive: gzip: invalid header`:                                       {[]byte("\x1f\x8b\x00 and no more, whatever"), one("a", "b")},
		`reading the archive: `:                                                                 {packed(t, inZstd, plain)[:20], one("a", "b")},
	} {
		dir := t.TempDir()
		_, err := Extract(t.Context(), bytes.NewReader(test.archive), test.members, dir)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// TestNothingIsWrittenThroughALink: a file below a link of the same archive must not land
// where the link points.
func TestNothingIsWrittenThroughALink(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	data := tarOf(t, []item{
		{name: "d", kind: tar.TypeSymlink, link: outside}, {name: "d/file", content: "harm"},
	})
	_, err := Extract(t.Context(), bytes.NewReader(data), []Member{{From: "**", To: "opt/"}}, dir)
	if err == nil || shown(t, outside) != "" {
		t.Errorf("%v, outside there is %q", err, shown(t, outside))
	}
}

// Names that differ in a dot differ, and a link that is not selected is not read.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	data := tarOf(t, []item{{name: "a", content: "1"}, {name: "a.", content: "2"}, {name: "l", kind: tar.TypeSymlink, link: "m"}, {name: "m", kind: tar.TypeSymlink, link: "a"}})
	if _, err := Extract(t.Context(), bytes.NewReader(data), []Member{{From: "**", To: "o/"}}, dir); err != nil || shown(t, dir) != "o\no/a 0755 \"1\"\no/a. 0755 \"2\"\no/l -> m\no/m -> a" {
		t.Errorf("%v\n%s", err, shown(t, dir))
	}
}

// TestMany: the time that an entry takes does not grow with their number.
func TestMany(t *testing.T) {
	var items []item
	for i := range 60_000 {
		items = append(items, item{name: fmt.Sprintf("d%d/f%d", i%100, i)})
	}
	start := time.Now()
	taken, err := Extract(t.Context(), bytes.NewReader(tarOf(t, items)), []Member{{From: "**", To: "o/"}}, "")
	if err != nil || len(taken) != len(items) || time.Since(start) > 20*time.Second {
		t.Errorf("%d members, %v, in %v", len(taken), err, time.Since(start))
	}
}

// TestReadingStops when all members were seen, but not before a pattern is complete.
func TestReadingStops(t *testing.T) {
	big := append(slices.Clone(release), item{name: "v1/big", content: strings.Repeat("x", 8<<20)})
	plain := tarOf(t, big)
	for from, wholly := range map[string]bool{"v1/tool": false, "v1/conf*/a.toml": true} {
		r := bytes.NewReader(plain)
		if _, err := Extract(t.Context(), r, []Member{{From: from, To: "a"}}, ""); err != nil {
			t.Fatal(err)
		}
		if got := r.Len() < 1<<20; got != wholly {
			t.Errorf("%s: %d of %d bytes are left", from, r.Len(), len(plain))
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "a"), nil, 0o644))
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

// FuzzExtract looks for an archive that lands outside the folder, or that is taken as a
// whole and cannot be packed.
func FuzzExtract(f *testing.F) {
	plain := tarOf(f, release[:len(release)-2])
	f.Add(plain)
	f.Add(packed(f, inZstd, plain))
	f.Add(packed(f, inGzip, plain))
	f.Add(packed(f, inXZ, plain))
	f.Add(zipOf(f, release, true))
	f.Add([]byte(program))
	f.Fuzz(func(t *testing.T, data []byte) {
		outside := t.TempDir()
		dir := filepath.Join(outside, "dir")
		ok(t, os.Mkdir(dir, 0o755))
		for _, from := range []string{"**", Program} {
			taken, err := Extract(t.Context(), bytes.NewReader(data), []Member{{From: from, To: "opt/kata/"}}, dir)
			if items, _ := os.ReadDir(outside); len(items) != 1 {
				t.Fatalf("outside there are %v", items)
			}
			if err != nil {
				continue
			}
			for _, m := range taken {
				if err := archive.CheckMember(m.Member); err != nil && m.Link == "" {
					t.Error(err)
				}
			}
		}
	})
}
