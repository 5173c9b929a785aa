package files

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var list []string
	for _, entry := range entries {
		list = append(list, entry.Name())
	}
	return strings.Join(list, " ")
}

func TestWriteReplacesAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.WriteFile(t, path, "old")
	pending, err := Create(path, 0o640)
	require.NoError(t, err)
	defer pending.Discard()
	if _, err := pending.WriteString("new"); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(path); string(data) != "old" {
		t.Errorf("while the file is written, its path has %q", data)
	}
	// A sweep of another process leaves it alone.
	require.NoError(t, Sweep(path))
	require.NoError(t, pending.Commit())
	pending.Discard()
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if data, _ := os.ReadFile(path); string(data) != "new" || names(t, dir) != "file" {
		t.Errorf("after the commit: %q in %s", data, names(t, dir))
	}
}

func TestCommitUnsynced(t *testing.T) {
	dir := t.TempDir()
	pending, err := Create(filepath.Join(dir, "file"), 0o644)
	require.NoError(t, err)
	defer pending.Discard()
	require.NoError(t, pending.CommitUnsynced())
	pending.Discard()
	if got := names(t, dir); got != "file" {
		t.Errorf("the folder has %s", got)
	}
}

func TestDiscardLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	pending, err := Create(filepath.Join(dir, "file"), 0o644)
	require.NoError(t, err)
	pending.Discard()
	if got := names(t, dir); got != "" {
		t.Errorf("the folder has %s", got)
	}
}

func TestSweepRemovesWhatTheDeadLeft(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, name := range []string{".file.tmp1234567890", ".file.tmp2x", ".file-notes", ".other.tmp1234567890"} {
		require.WriteFile(t, filepath.Join(dir, name), "")
	}
	require.NoError(t, Sweep(path))
	if got := names(t, dir); got != ".file-notes .file.tmp2x .other.tmp1234567890" {
		t.Errorf("the folder has %s", got)
	}
	require.WriteFile(t, filepath.Join(dir, ".file.tmp1234567890"), "")
	require.NoError(t, Write(path, nil, 0o644))
	if got := names(t, dir); got != ".file-notes .file.tmp2x .other.tmp1234567890 file" {
		t.Errorf("after writing, the folder has %s", got)
	}
	require.WriteFile(t, filepath.Join(dir, ".file.tmp1234567890"), "")
	pending, err := Create(path, 0o644)
	require.NoError(t, err)
	pending.Discard()
	if got := names(t, dir); got != ".file-notes .file.tmp2x .other.tmp1234567890 file" {
		t.Errorf("after a file was begun, the folder has %s", got)
	}
	if err := Sweep(filepath.Join(dir, "no", "folder")); err != nil {
		t.Error(err)
	}
}

func TestHash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.WriteFile(t, path, "hello\n")
	sum, size, err := Hash(t.Context(), path)
	if want := "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"; sum != want || size != 6 || err != nil {
		t.Errorf("got %s, %d, %v", sum, size, err)
	}
	reason := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if _, _, err := Hash(ctx, path); !errors.Is(err, reason) {
		t.Errorf("after the end of the context: %v", err)
	}
	if _, err := Copy(ctx, &bytes.Buffer{}, strings.NewReader("x")); !errors.Is(err, reason) {
		t.Errorf("after the end of the context: %v", err)
	}
}

func TestCopy(t *testing.T) {
	var to bytes.Buffer
	if n, err := Copy(t.Context(), &to, strings.NewReader("hello")); n != 5 || err != nil || to.String() != "hello" {
		t.Errorf("copied %q: %d, %v", to.String(), n, err)
	}
}

func TestRoom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	if err := Room(dir, 1); err != nil {
		t.Error(err)
	}
	err := Room(dir, math.MaxInt64)
	if !IsFull(err) || !strings.Contains(err.Error(), "--cache-dir") {
		t.Errorf("no error of a full disk: %v", err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "locks", "one")
	unlock, err := Lock(t.Context(), path, Waiting{})
	require.NoError(t, err)
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second holder: %v", err)
	}
	var out bytes.Buffer
	report := progress.New(&out, progress.Plain, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path, Waiting{report, "one", "waiting for another"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting beyond the end of the context: %v", err)
	}
	report.Close()
	if got := out.String(); got != "one  waiting for another\n" {
		t.Errorf("noted %q", got)
	}
	unlock()
	one, err := LockShared(t.Context(), path, Waiting{})
	require.NoError(t, err)
	defer one()
	two, err := LockShared(t.Context(), path, Waiting{})
	require.NoError(t, err)
	defer two()
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("an exclusive lock while others share it: %v", err)
	}
}

// Whatever somebody else puts in a cache or a tree, opening it neither waits nor
// leads elsewhere.
func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	require.WriteFile(t, filepath.Join(dir, "tree", "folder", "file"), "hello")
	require.WriteFile(t, filepath.Join(dir, "secret"), "secret")
	for name, target := range map[string]string{"tree/out": "../secret", "tree/in": "folder/file", "tree/inside": "folder"} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "tree", "pipe"), 0o644))
	tree, err := OpenTree(filepath.Join(dir, "tree"))
	require.NoError(t, err)
	defer tree.Close()
	for _, test := range []struct{ name, in, path string }{
		{"out", "out is a symbolic link, not a regular file", "is a symbolic link"},
		{"in", "in is a symbolic link, not a regular file", "is a symbolic link"},
		{"inside/file", "inside is a symbolic link, not a regular file", ""},
		{"pipe", "pipe is a named pipe, not a regular file", "is a named pipe"},
		{"folder", "is a directory", "is a folder"},
		{"../secret", "invalid argument", ""},
		{"/etc/passwd", "invalid argument", "no such file"},
		{"none", "no such file", "no such file"},
		{"folder/file", "", ""},
	} {
		if _, err := tree.ReadFile(test.name); !says(err, test.in) {
			t.Errorf("%s in the tree: %v, want %q", test.name, err, test.in)
		}
		if _, err := Read(filepath.Join(dir, "tree", test.name), 10); !says(err, test.path) {
			t.Errorf("the path of %s: %v, want %q", test.name, err, test.path)
		}
	}
	require.NoError(t, os.Truncate(filepath.Join(dir, "tree", "folder", "file"), maxTreeFile+1))
	if _, err := tree.ReadFile("folder/file"); !says(err, "folder/file: larger than 16.0 MiB") {
		t.Errorf("a file over the limit: %v", err)
	}
	require.WriteFile(t, filepath.Join(dir, "tree", "folder", "file"), "hello")
	if entries, err := fs.ReadDir(tree, "folder"); len(entries) != 1 || err != nil {
		t.Errorf("a folder has %v, %v", entries, err)
	}
	// A person may name a link to a file, and nothing that would be waited for.
	if data, err := ReadNamed(filepath.Join(dir, "tree", "in"), 5); string(data) != "hello" || err != nil {
		t.Errorf("a named link: %q, %v", data, err)
	}
	if _, err := ReadNamed(filepath.Join(dir, "tree", "pipe"), 5); !says(err, "a named pipe") {
		t.Errorf("a named pipe: %v", err)
	}
}

func says(err error, text string) bool {
	if text == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), text)
}

// What root runs or overwrites is not another user's choice.
func TestPrivate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of another user")
	}
	for name, test := range map[string]struct {
		spoil  func(base string) error
		wanted string
	}{
		"root's own":            {nil, ""},
		"in a folder like /tmp": {func(base string) error { return os.Chmod(base, 0o777|fs.ModeSticky) }, ""},
		"another's folder":      {func(base string) error { return os.Chown(base+"/cache", 12345, 0) }, "user 12345"},
		"another's above":       {func(base string) error { return os.Chown(base, 12345, 0) }, "base belongs to user 12345; name another folder with --cache-dir, or run `chown"},
		"open":                  {func(base string) error { return os.Chmod(base+"/cache", 0o777) }, "other users may write in"},
		"open and sticky":       {func(base string) error { return os.Chmod(base+"/cache", 0o777|fs.ModeSticky) }, "rm -r"},
		"open above":            {func(base string) error { return os.Chmod(base, 0o777) }, "chmod go-w"},
		"open to a group": {func(base string) error {
			return errors.Join(os.Chown(base+"/cache", 0, 12345), os.Chmod(base+"/cache", 0o775))
		}, "other users may write in"},
		"open to root's group": {func(base string) error { return os.Chmod(base+"/cache", 0o775) }, ""},
		"another's program":    {func(base string) error { return os.Chown(base+"/cache/engine/bin/dagger", 12345, 0) }, "rm -r"},
		"a program that others may write": {func(base string) error {
			return os.Chmod(base+"/cache/engine/bin/dagger", 0o777)
		}, "rm -r"},
		"another's link below": {func(base string) error {
			return errors.Join(os.Symlink("/etc/passwd", base+"/cache/link"), os.Lchown(base+"/cache/link", 12345, 0))
		}, "rm -r"},
		"another's link": {func(base string) error {
			return errors.Join(os.Rename(base+"/cache", base+"/real"), os.Symlink("real", base+"/cache"), os.Lchown(base+"/cache", 12345, 0))
		}, "user 12345"},
		"a link through another's folder": {func(base string) error {
			return errors.Join(os.Rename(base+"/cache", base+"/real"), os.Mkdir(base+"/theirs", 0o755), os.Chown(base+"/theirs", 12345, 0),
				os.Symlink(base+"/real", base+"/theirs/link"), os.Symlink("theirs/link", base+"/cache"))
		}, "theirs belongs to user 12345"},
		"links in a circle": {func(base string) error {
			return errors.Join(os.RemoveAll(base+"/cache"), os.Symlink("cache", base+"/cache"))
		}, "too many links"},
		"not there yet": {func(base string) error { return os.RemoveAll(base + "/cache") }, ""},
		"not there yet, in an open folder": {func(base string) error {
			return errors.Join(os.RemoveAll(base+"/cache"), os.Chmod(base, 0o777))
		}, "chmod go-w"},
	} {
		t.Run(name, func(t *testing.T) {
			base := filepath.Join(t.TempDir(), "base")
			require.WriteFile(t, base+"/cache/engine/bin/dagger", "program")
			if test.spoil != nil {
				require.NoError(t, test.spoil(base))
			}
			switch err := Private(base+"/cache", 0); {
			case test.wanted == "" && err != nil:
				t.Error(err)
			case test.wanted != "" && (err == nil || !strings.Contains(err.Error(), test.wanted)):
				t.Errorf("error %v, want %q", err, test.wanted)
			}
			if err := Private(base+"/cache", 0, 12345); test.wanted != "" && strings.Contains(test.wanted, "12345") && err != nil {
				t.Errorf("for two owners: %v", err)
			}
		})
	}
}
