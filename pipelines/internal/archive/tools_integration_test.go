//go:build integration

package archive

import (
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTools lets other programs read what Pack and Merged.Write made: as files,
// and, where they do not know zstd, after zstd. Each must make the same tree.
func TestTools(t *testing.T) {
	dir := plant(t, sample())
	packed, summary := pack(t, dir, 3)
	merged := filepath.Join(t.TempDir(), "merged.tar.zst")
	m := plan(t, []Component{{Name: "sample", Path: packed}, component(t, "more", node{name: "opt/kata/more", mode: 0o644, data: []byte("more\n")})}, versionFile)
	mergedMembers := writeMerged(t, m, merged).Members
	for _, tool := range []struct{ name, script string }{
		{"zstd and GNU tar", `zstd -q -dc "$1" | tar -x -C "$2"`},
		{"GNU tar", `tar --zstd -x -f "$1" -C "$2"`},
		{"bsdtar", `bsdtar -x -f "$1" -C "$2"`},
		{"Python", `zstd -q -dc "$1" | python3 -c 'import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall(sys.argv[1])' "$2"`},
		{"zstd in one thread with the memory of the specification", `zstd -q -dc --memory=8MB "$1" | tar -x -C "$2"`},
	} {
		t.Run(tool.name, func(t *testing.T) {
			for path, members := range map[string][]Member{packed: summary.Members, merged: mergedMembers} {
				into := t.TempDir()
				command(t, "sh", "-ec", tool.script, "sh", path, into)
				again := filepath.Join(t.TempDir(), "again")
				summary, err := Pack(t.Context(), into, again, Options{Level: 1, ModTime: epoch})
				if err != nil {
					t.Fatal(err)
				}
				if diff := Diff(members, summary.Members); len(diff) > 0 {
					t.Errorf("%s: what it extracted differs: %+v", path, diff)
				}
			}
		})
	}
}

// TestToolsFormats reads what other programs make, in each format that they know.
func TestToolsFormats(t *testing.T) {
	dir := plant(t, []node{
		{name: "opt/kata/bin/tool", mode: 0o755, data: []byte("tool")},
		{name: "opt/kata/link", link: "bin/tool"},
		{name: "opt/kata/ä", mode: 0o644, data: []byte{}},
	})
	_, summary := pack(t, dir, 1)
	for tool, formats := range map[string][]string{"tar": {"v7", "oldgnu", "gnu", "ustar", "posix"}, "bsdtar": {"v7", "ustar", "pax", "paxr", "gnutar"}} {
		for _, format := range formats {
			path := filepath.Join(t.TempDir(), "foreign.tar.zst")
			command(t, "env", "LC_ALL=C.UTF-8", tool, "--format="+format, "--zstd", "-cf", path, "-C", dir, "./opt")
			listing, err := Inspect(path)
			var members []Member
			for _, m := range listing.Members {
				members = append(members, normal(m.Member))
			}
			if diff := Diff(summary.Members, members); err != nil || len(diff) > 0 {
				t.Errorf("%s of %s: %v %v", format, tool, err, diff)
			}
		}
	}
}

// TestToolsList compares listings: names, modes, sizes, owners and times.
func TestToolsList(t *testing.T) {
	packed, summary := pack(t, plant(t, sample()), 1)
	var want []string
	for _, m := range summary.Members {
		kind := map[fs.FileMode]string{0: "-", fs.ModeDir: "d", fs.ModeSymlink: "l"}[m.Mode.Type()]
		want = append(want, fmt.Sprintf("%s %d 0 0 %d %s", kind, m.Size, epoch.Unix(), m.Name))
	}
	python := `import sys, tarfile
for m in tarfile.open(fileobj=sys.stdin.buffer, mode="r|"):
    kind, slash = ("d", "/") if m.isdir() else ("l", "") if m.issym() else ("-", "")
    print(kind, m.size, m.uid, m.gid, int(m.mtime), m.name + slash)`
	got := strings.Split(strings.TrimSpace(command(t, "sh", "-ec", `zstd -q -dc "$1" | python3 -c "$2"`, "sh", packed, python)), "\n")
	if !slices.Equal(want, got) {
		t.Errorf("Python lists\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// What tests an archive reads to the end of the file, past the index.
	command(t, "zstd", "-q", "-t", packed)
	if names := strings.Split(strings.TrimSpace(command(t, "bsdtar", "-t", "-f", packed)), "\n"); len(names) != len(want) {
		t.Errorf("bsdtar lists %d members, want %d", len(names), len(want))
	}
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	data, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, data)
	}
	return string(data)
}
