package foreign

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

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
		require.Error(t, err, want)
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
	start := worked(t)
	taken, err := Extract(t.Context(), bytes.NewReader(tarOf(t, items)), []Member{{From: "**", To: "o/"}}, "")
	if err != nil || len(taken) != len(items) || worked(t)-start > 20*time.Second {
		t.Errorf("%d members, %v, in %v", len(taken), err, worked(t)-start)
	}
}

// worked returns the time of processors that the tests have used: the time that passes
// depends on what else the machine does.
func worked(t *testing.T) time.Duration {
	var usage syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano())
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
		require.NoError(t, os.Mkdir(dir, 0o755))
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
