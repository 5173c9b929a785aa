package git

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// repository makes one with a commit of a file.
func repository(t *testing.T, content string) Repository {
	t.Helper()
	dir := t.TempDir()
	require.WriteFile(t, filepath.Join(dir, "file"), content)
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"add", "."},
		{"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message=" + content},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return Repository(dir)
}

// TestEnvironment: variables that git sets for a hook, or a caller sets for another
// repository, do not redirect commands to that repository.
func TestEnvironment(t *testing.T) {
	mine, other := repository(t, "mine"), repository(t, "other")
	want, err := mine.Head(t.Context())
	require.NoError(t, err)
	t.Setenv("GIT_DIR", filepath.Join(string(other), ".git"))
	t.Setenv("GIT_WORK_TREE", string(other))
	t.Setenv("GIT_INDEX_FILE", filepath.Join(string(other), ".git", "index"))
	t.Setenv("GIT_OBJECT_DIRECTORY", filepath.Join(string(other), ".git", "objects"))
	if head, err := mine.Head(t.Context()); head != want || err != nil {
		t.Errorf("head %s, %v, want %s", head, err, want)
	}
	if commit, err := mine.Commit(t.Context(), "main"); commit != want || err != nil {
		t.Errorf("commit %s, %v, want %s", commit, err, want)
	}
	files, err := mine.Files(t.Context(), want)
	require.NoError(t, err)
	if content, err := fs.ReadFile(files, "file"); err != nil || string(content) != "mine" {
		t.Errorf("%q, %v", content, err)
	}
}

// TestNoSecrets: git gets the variables that it and ssh read, and no others like them.
func TestNoSecrets(t *testing.T) {
	for _, name := range []string{"SSH_PASSWORD", "XDG_SECRET", "GIT_TOKEN"} {
		t.Setenv(name, "hidden-value")
	}
	t.Setenv("SSH_AUTH_SOCK", "/agent")
	t.Setenv("XDG_CONFIG_HOME", "/settings")
	environ := Command(t.Context()).Env
	for _, want := range []string{"SSH_AUTH_SOCK=/agent", "XDG_CONFIG_HOME=/settings"} {
		if !slices.Contains(environ, want) {
			t.Errorf("git does not get %s", want)
		}
	}
	if text := strings.Join(environ, "\n"); strings.Contains(text, "hidden-value") {
		t.Errorf("git gets secrets:\n%s", text)
	}
}

// TestForeign: the error for a repository of another user names the command that helps.
func TestForeign(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a repository to another user")
	}
	foreign := repository(t, "foreign")
	t.Setenv("HOME", t.TempDir()) // Without a safe.directory of the machine's user.
	if err := filepath.WalkDir(string(foreign), func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 65534, 65534)
	}); err != nil {
		t.Fatal(err)
	}
	_, err := foreign.Head(t.Context())
	want := string(foreign) + " belongs to another user, so git refuses to read it: if you trust its files, run `git config --global --add safe.directory " + string(foreign) + "`"
	if !errors.Is(err, ErrForeign) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
