package cli

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/kconfig"
)

// files is the tree as it is on disk.
func (t *tree) files() fs.FS { return t.resolver.Tree }

// revision returns the tree of a git revision, without checking it out.
func (t *tree) revision(ctx context.Context, name string) (fs.FS, error) {
	commit, err := t.commit(ctx, name)
	if err != nil {
		return nil, usage(err)
	}
	data, err := t.ask(ctx, "archive", "--format=zip", "-0", commit)
	if err != nil {
		return nil, fmt.Errorf("reading the tree of %s: %w", name, err)
	}
	files, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("reading the tree of %s: %w", name, err)
	}
	return files, nil
}

// commit resolves a revision.
func (t *tree) commit(ctx context.Context, name string) (string, error) {
	out, err := t.ask(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", fmt.Errorf("git knows no commit %q here: fetch it, or name another", name)
	}
	return strings.TrimSpace(string(out)), err
}

// checkRaised refuses fragments that changed since the working tree left the
// base branch, while the configuration version did not grow. The base may be
// named as GitHub does, without its remote.
func (t *tree) checkRaised(ctx context.Context, base string) error {
	commit, err := t.commit(ctx, base)
	if err != nil {
		var remote error
		if commit, remote = t.commit(ctx, "origin/"+base); remote != nil {
			return usage(err)
		}
	}
	out, err := t.ask(ctx, "merge-base", commit, "HEAD")
	if err != nil {
		return fmt.Errorf("finding where this branch left %s (a shallow clone does not know: fetch more of it): %w", base, err)
	}
	earlier, err := t.revision(ctx, strings.TrimSpace(string(out)))
	if err != nil {
		return err
	}
	return kconfig.CheckRaised(earlier, t.files(), base)
}

// ask runs git in the tree and returns what it printed.
func (t *tree) ask(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", t.root}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("asking git: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
