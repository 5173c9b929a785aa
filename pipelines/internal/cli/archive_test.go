package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// archiveVerb runs `archive` and returns its exit code and what it wrote.
func archiveVerb(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = Run(t.Context(), append([]string{"archive"}, args...), Process{Stdout: &out, Stderr: &err, Getenv: func(string) string { return "" }})
	return code, out.String(), err.String()
}

// tarballs packs two versions of a folder, and the first one once more with GNU
// tar.
func tarballs(t *testing.T) (before, after, foreign string) {
	t.Helper()
	dir, to := t.TempDir(), t.TempDir()
	before, after, foreign = filepath.Join(to, "before"), filepath.Join(to, "after"), filepath.Join(to, "foreign")
	text := func(name, content string) {
		path := filepath.Join(dir, "opt", "kata", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pack := func(path string) {
		if _, err := archive.Pack(t.Context(), dir, path, archive.Options{Level: 1, ModTime: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	text("a", "one\n")
	text("b", "gone\n")
	if err := os.Symlink("a", filepath.Join(dir, "opt/kata/l")); err != nil {
		t.Fatal(err)
	}
	pack(before)
	if text, err := exec.CommandContext(t.Context(), "sh", "-ec", `tar -C "$1" --mode=go-w --sort=name -c . | zstd -q -o "$2"`, "sh", dir, foreign).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	text("a", "two and more\n")
	text("bin/c", "new\n")
	if err := os.Remove(filepath.Join(dir, "opt/kata/b")); err != nil {
		t.Fatal(err)
	}
	pack(after)
	return before, after, foreign
}

func TestArchiveVerbs(t *testing.T) {
	before, after, foreign := tarballs(t)
	damaged := filepath.Join(t.TempDir(), "damaged")
	data, err := os.ReadFile(before)
	if err != nil {
		t.Fatal(err)
	}
	data[60] ^= 0xff
	if err := os.WriteFile(damaged, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		args   []string
		code   int
		stdout string // the whole, or a part of the JSON
		stderr string // a part
	}{
		{"cat", []string{"cat", before, "opt/kata/a"}, 0, "one\n", ""},
		{"cat without an index", []string{"cat", foreign, "./opt/kata/a"}, 0, "one\n", ""},
		{"cat of nothing", []string{"cat", before, "opt/x"}, 1, "", "opt/x: file does not exist (see `pipelines archive ls"},
		{"cat of nothing without an index", []string{"cat", foreign, "opt/x"}, 1, "", "opt/x: file does not exist (see `pipelines archive ls"},
		{"cat of a link", []string{"cat", before, "opt/kata/l"}, 1, "", "./opt/kata/l is a link to a"},
		{"diff", []string{"diff", before, after}, 0,
			"changed  ./opt/kata/a: files of 4 and 13 bytes\nremoved  ./opt/kata/b (5 bytes)\nadded    ./opt/kata/bin/\nadded    ./opt/kata/bin/c (4 bytes)\n", ""},
		{"diff of the same", []string{"diff", before, before}, 0, "", ""},
		{"diff as JSON", []string{"diff", "--json", after, foreign}, 0, `"change": "removed",
    "name": "./opt/kata/bin/c",
    "before": {`, ""},
		{"check", []string{"check", before, foreign}, 0,
			before + ": 5 members in 3 frames match the index\n" + foreign + ": 5 members, complete; no index\n", ""},
		{"check goes on", []string{"check", damaged, before}, 1, before + ": 5 members in 3 frames match the index\n", damaged + ": checking frame"},
		{"check as JSON", []string{"check", "--json", damaged}, 1, `"error": "checking frame`, "checking frame"},
		{"no tarball", []string{"ls", os.DevNull}, 1, "", "is a device, not a regular file"},
		{"no verb", nil, 2, "", "missing subcommand: cat, check, diff or ls"},
		{"too few", []string{"diff", before}, 2, "", "accepts 2 arg(s)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := archiveVerb(t, test.args...)
			if code != test.code || !strings.Contains(stderr, test.stderr) || test.stderr == "" && stderr != "" {
				t.Errorf("code %d, stderr %q; want %d, %q", code, stderr, test.code, test.stderr)
			}
			if stdout != test.stdout && (!strings.Contains(test.name, "JSON") || !strings.Contains(stdout, test.stdout)) {
				t.Errorf("stdout %q, want %q", stdout, test.stdout)
			}
		})
	}
}

// TestArchivePrintable has a name that a terminal shows backwards, and a pipe without
// a writer.
func TestArchivePrintable(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	if err := os.MkdirAll(filepath.Join(dir, "opt"), 0o755); err != nil {
		t.Fatal(err)
	}
	pack := func(path, content string) {
		if err := os.WriteFile(filepath.Join(dir, "opt/\u202egnp.exe"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Pack(t.Context(), dir, path, archive.Options{Level: 1, ModTime: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	pack(out, "1")
	pack(out+"2", "22")
	for _, args := range [][]string{{"ls", out}, {"diff", out, out + "2"}} {
		code, stdout, stderr := archiveVerb(t, args...)
		if code != 0 || !strings.Contains(stdout, " ./opt/gnp.exe") || strings.Contains(stdout, "\u202e") {
			t.Errorf("%s: code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := archiveVerb(t, "check", pipe); code != 1 || !strings.Contains(stderr, "is a named pipe, not a regular file") {
		t.Errorf("a pipe: code %d, %q", code, stderr)
	}
}

func TestArchiveLs(t *testing.T) {
	before, _, foreign := tarballs(t)
	for _, path := range []string{before, foreign} {
		code, stdout, stderr := archiveVerb(t, "ls", path)
		lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
		if code != 0 || stderr != "" || len(lines) != 6 || !strings.HasSuffix(lines[5], "  ./opt/kata/l -> a") || !strings.HasPrefix(lines[3], "-rw-r--r--             4 ") {
			t.Errorf("code %d, stderr %q, listed\n%s", code, stderr, stdout)
		}
		var members []listedMember
		_, stdout, _ = archiveVerb(t, "ls", "--json", path)
		if err := json.Unmarshal([]byte(stdout), &members); err != nil {
			t.Fatal(err)
		}
		if len(members) != 5 || members[2].Name != "./opt/kata/a" || members[2].Mode != "-rw-r--r--" || len(members[2].SHA256) != 64 || (members[2].Frame != nil) != (path == before) {
			t.Errorf("as JSON: %s", stdout)
		}
	}
}
