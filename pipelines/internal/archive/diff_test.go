package archive

import (
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	text := func(name, hash string, size int64) Member {
		return Member{Name: name, Mode: 0o644, Size: size, SHA256: hash}
	}
	link := Member{Name: "./l", Mode: fs.ModeSymlink | 0o777, Link: "a"}
	other := link
	other.Link = "b"
	executable := text("./m", "11", 5)
	executable.Mode = 0o755
	before := []Member{text("./z", "11", 5), text("./a", "11", 5), text("./b", "11", 5), text("./c", "11", 5), link, text("./m", "11", 5)}
	after := []Member{other, text("./c", "11", 6), text("./b", "22", 5), text("./a", "11", 5), text("./n", "11", 7), executable}
	var got []string
	for _, c := range Diff(before, after) {
		got = append(got, c.String())
	}
	want := []string{
		"changed  ./b: files of 5 bytes with sha256 11… and 22…", "changed  ./c: files of 5 and 6 bytes",
		"changed  ./l: links to a and to b", "changed  ./m: modes -rw-r--r-- and -rwxr-xr-x", "added    ./n (7 bytes)", "removed  ./z (5 bytes)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
	if changes := Diff(before, before); changes != nil {
		t.Errorf("of the same: %v", changes)
	}
}
