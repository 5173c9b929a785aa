package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/git"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// git fetches the commit of a place from the repository at url, the place's own
// or a clone of it, and archives it. Git checks every object that it fetches, so
// only the commit has to be right; it stays in a bare repository of the cache,
// from which a later archive is made without the network.
func (t *task) git(ctx context.Context, place versions.Place, url string) (Fetched, error) {
	if place.Git.Ref != "" {
		return Fetched{}, t.unpinned(ctx, place.Git, url)
	}
	repository, unlock, err := t.repository(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	defer unlock()
	commit := place.Git.Commit
	if !repository.has(ctx, commit) {
		if t.Offline && url == place.Git.URL {
			return Fetched{}, unavailable{fmt.Errorf("%s is not in the cache", place.Holds())}
		}
		if err := repository.fetch(ctx, url, commit); err != nil {
			return Fetched{}, unavailable{err}
		}
	}
	return t.made(ctx, place, place.Holds(), func(path string) error {
		return repository.archive(ctx, place.Git, path)
	})
}

// unpinned is the error of a ref, which may be another commit tomorrow. It names
// the one that it is now, where the repository answers.
func (t *task) unpinned(ctx context.Context, g *versions.Git, url string) error {
	what := fmt.Sprintf("%s at %s is not pinned", g.Ref, g.URL)
	if t.Offline && url == g.URL {
		return unavailable{fmt.Errorf("%s, and its commit cannot be looked up offline", what)}
	}
	// An annotated tag is listed twice: its commit is the one with ^{}.
	out, err := gitCommand(ctx, "ls-remote", "--quiet", "--exit-code", url, g.Ref, g.Ref+"^{}").Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 2 {
		return unavailable{fmt.Errorf("%s has no ref %s: correct the ref of the place", url, g.Ref)}
	}
	if err != nil {
		return unavailable{fmt.Errorf("%s, and the repository does not answer: find its commit with git ls-remote, and write that instead of the ref", what)}
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	commit, _, _ := strings.Cut(lines[len(lines)-1], "\t")
	return unavailable{fmt.Errorf("%s: it is commit %s today; write commit: \"%s\" instead of ref: after looking at it", what, commit, commit)}
}

// inRepository looks for the commit of a place in the cache's own repository.
func (t *task) inRepository(ctx context.Context, place versions.Place) (Fetched, bool, error) {
	if place.Git == nil || place.Git.Ref != "" {
		return Fetched{}, false, nil
	}
	if _, err := os.Stat(t.repositoryPath(place)); errors.Is(err, os.ErrNotExist) {
		return Fetched{}, false, nil
	}
	offline := &task{Fetcher: &Fetcher{Dir: t.Dir, Offline: true, Report: t.Report}, source: t.source, stage: t.stage}
	fetched, err := offline.git(ctx, place, place.Git.URL)
	if errors.As(err, new(unavailable)) && ctx.Err() == nil {
		return Fetched{}, false, nil
	}
	fetched.From = FromCache
	return fetched, err == nil, err
}

// hasCommit reports whether the cache's own repository has the commit of a place,
// out of which Fetch makes the file.
func (f *Fetcher) hasCommit(ctx context.Context, place versions.Place) bool {
	if place.Git == nil || place.Git.Ref != "" {
		return false
	}
	path := f.repositoryPath(place)
	return files.Exists(path) && gitRepository(path).has(ctx, place.Git.Commit)
}

// repositoryPath is the bare repository of a place's address.
func (f *Fetcher) repositoryPath(place versions.Place) string {
	return filepath.Join(f.Dir, "git", fmt.Sprintf("%x.git", sha256.Sum256([]byte(place.Git.URL))))
}

// repository locks the bare repository, and makes it if it is missing.
func (t *task) repository(ctx context.Context, place versions.Place) (gitRepository, func(), error) {
	path := t.repositoryPath(place)
	unlock, err := files.Lock(ctx, strings.TrimSuffix(path, ".git")+".lock", t.waiting())
	if err != nil {
		return "", nil, err
	}
	// Git holds this one during a whole fetch, and leaves it behind if it is killed.
	if err := os.Remove(filepath.Join(path, "shallow.lock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		unlock()
		return "", nil, fmt.Errorf("removing what a killed fetch left in the source cache: %w", err)
	}
	if _, err := os.Stat(filepath.Join(path, "HEAD")); err == nil {
		return gitRepository(path), unlock, nil
	}
	if _, err := exec.LookPath("git"); err != nil {
		unlock()
		return "", nil, unavailable{errors.New("git is not installed: apt-get install git")}
	}
	if err := gitRepository(path).run(ctx, "init", "--quiet", "--bare", "."); err != nil {
		unlock()
		return "", nil, fmt.Errorf("making a repository in the source cache: %w", err)
	}
	return gitRepository(path), unlock, nil
}

// gitRepository is the path of a bare repository that only this program uses.
type gitRepository string

// has says whether the commit is there.
func (g gitRepository) has(ctx context.Context, commit string) bool {
	return g.run(ctx, "cat-file", "-e", commit+"^{tree}") == nil
}

// fetch fetches one commit without its history.
func (g gitRepository) fetch(ctx context.Context, url, commit string) error {
	args := []string{"fetch", "--quiet", "--no-tags", "--depth=1", url, commit}
	if !strings.Contains(url, "://") {
		// A clone on this machine need not be set up to give any commit by its hash.
		args = slices.Insert(args, 1, "--upload-pack=git -c uploadpack.allowAnySHA1InWant=true upload-pack")
	}
	err := g.run(ctx, args...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if g.run(ctx, "ls-remote", "--quiet", url, "HEAD") == nil {
		return fmt.Errorf("%s has no commit %s, or does not give commits by hash: %w", url, commit, err)
	}
	return err
}

// archive writes the tar of a path of a commit. Its bytes depend only on the
// commit: the times are the commit's.
func (g gitRepository) archive(ctx context.Context, from *versions.Git, path string) error {
	args := []string{"-c", "tar.umask=0022", "archive", "--format=tar", "--prefix=source/", "--output=" + path, from.Commit}
	if from.Path != "" {
		args = append(args, "--", from.Path)
	}
	err := g.run(ctx, args...)
	if err != nil && from.Path != "" && g.run(ctx, "cat-file", "-e", from.Commit+":"+from.Path) != nil {
		return fmt.Errorf("commit %s of %s has no %s", from.Commit, from.URL, from.Path)
	}
	return err
}

// run runs git in the repository.
func (g gitRepository) run(ctx context.Context, args ...string) error {
	if err := os.MkdirAll(string(g), 0o755); err != nil {
		return err
	}
	cmd := gitCommand(ctx, args...)
	cmd.Dir = string(g)
	cmd.Env = append(cmd.Env, "GIT_DIR=.")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		said := strings.ReplaceAll(strings.TrimSpace(stderr.String()), "\n", "; ")
		return fmt.Errorf("running git %s: %w: %s", args[0], err, said)
	}
	return nil
}

// gitCommand is git without the settings of the user or the machine, and without
// questions. At the end of the context it may clean up, and is not waited for where
// a child of it hangs on a connection.
func gitCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := git.Command(ctx, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = command.Grace
	cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	return cmd
}
