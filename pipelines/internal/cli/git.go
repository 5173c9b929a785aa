package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// errNoAnswer is what git has no answer for: no commit yet, or no branch.
var errNoAnswer = errors.New("git has no answer")

// git runs git in the tree. What the environment says of another repository, as
// that of a hook does, is left out: the tree is the one on disk.
func (t *tree) git(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", t.root, "--no-replace-objects"}, args...)...)
	cmd.Env = slices.DeleteFunc(cmd.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "GIT_") })
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("git is not installed: install it")
	case errors.As(err, &exit) && exit.ExitCode() == 1 && stderr.Len() == 0:
		return "", errNoAnswer
	}
	said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
	return "", fmt.Errorf("asking git: %w: %s", err, said)
}

// head returns the commit that is checked out.
func (t *tree) head(ctx context.Context) (string, error) {
	head, err := t.git(ctx, nil, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
	if errors.Is(err, errNoAnswer) {
		return "", errors.New("nothing is committed yet: commit the inputs")
	}
	return strings.TrimSpace(head), err
}

// checkedOut returns the branch that is checked out, or "" where there is none:
// at the commit of a tag, say, or outside of a repository. Nothing is pushed or
// looked up under the name of no branch.
func (t *tree) checkedOut(ctx context.Context) string {
	branch, err := t.git(ctx, nil, "symbolic-ref", "--short", "--quiet", "HEAD")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(branch)
}

// versionFile has the release that the tree is of.
const versionFile = "VERSION"

// maxRelease is how long a release may be: it is a part of tags.
const maxRelease = 64

// version reads the release that the tree is of.
func (t *tree) version() (string, error) {
	data, err := t.resolver.Tree.ReadFile(versionFile)
	if err != nil {
		return "", fmt.Errorf("reading the release: %w", err)
	}
	version := strings.TrimSpace(string(data))
	if !semver.Valid(version) || len(version) > maxRelease {
		return "", fmt.Errorf("%s has %q: write one release into it, such as 3.28.0, or 3.29.0-rc0 before it", versionFile, version)
	}
	return version, nil
}
