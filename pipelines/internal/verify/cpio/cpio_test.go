package cpio_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/cpio"
)

// read takes an archive apart as Linux does, and returns a line for each member.
func read(t *testing.T, data []byte) []string {
	t.Helper()
	var members []string
	for at := 0; at < len(data); {
		if len(data)-at < 110 || string(data[at:at+6]) != "070701" {
			t.Fatalf("no header at %d", at)
		}
		var fields [13]int
		for i := range fields {
			n, err := strconv.ParseUint(string(data[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			fields[i] = int(n)
		}
		size, nameSize := fields[6], fields[11]
		name := string(data[at+110 : at+110+nameSize-1])
		content := (at + 110 + nameSize + 3) &^ 3
		members = append(members, fmt.Sprintf("%s %o %d,%d %q", name, fields[1], fields[9], fields[10], data[content:content+size]))
		at = (content + size + 3) &^ 3
	}
	return members
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := cpio.NewWriter(&out)
	if err := errors.Join(w.Dir("dev"), w.Char("dev/console", 5, 1), w.File("init", 0o755, []byte("hello")), w.Close()); err != nil {
		t.Fatal(err)
	}
	want := `dev 40755 0,0 ""
dev/console 20600 5,1 ""
init 100755 0,0 "hello"
TRAILER!!! 0 0,0 ""`
	if got := strings.Join(read(t, out.Bytes()), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// full takes a few bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, errors.New("disk full")
	}
	f.left -= len(p)
	return len(p), nil
}

func TestWriterKeepsItsError(t *testing.T) {
	w := cpio.NewWriter(&full{200})
	if err := w.Dir("dev"); err != nil {
		t.Fatal(err)
	}
	if err := w.File("init", 0o755, make([]byte, 500)); err == nil {
		t.Error("a disk that is full is no error")
	}
	if err := w.Close(); err == nil {
		t.Error("the error is forgotten at the end")
	}
}
