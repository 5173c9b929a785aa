package source

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/git"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// git fetches the commit of a place from the repository at url, the place's own or a
// clone of it, and archives it. Git checks every object that it fetches, so only the
// commit has to be right. The commit stays in a bare repository of the cache, from which
// a later call with the url "" archives it without the network.
func (t *task) git(ctx context.Context, place versions.Place, url string) (Fetched, error) {
	if place.Git.Ref != "" {
		return Fetched{}, t.unpinned(ctx, place.Git, url)
	}
	repository, unlock, err := t.repository(ctx, place)
	if err != nil {
		return Fetched{}, err
	}
	defer unlock()
	if commit := place.Git.Commit; !repository.has(ctx, commit) {
		if url == "" {
			return Fetched{}, errNotCached
		}
		if err := repository.fetch(ctx, url, commit); err != nil {
			return Fetched{}, unavailable{err}
		}
	}
	return t.made(ctx, place, place.Holds(), func(file *os.File) error {
		return repository.archive(ctx, place.Git, file.Name())
	})
}

// unpinned is the error of a ref, which may be another commit tomorrow. It names today's
// commit if the repository answers.
func (t *task) unpinned(ctx context.Context, g *versions.Git, url string) error {
	commit, err := t.commitOf(ctx, url, g.Ref)
	if err != nil {
		return unavailable{fmt.Errorf("%s at %s is not pinned: %w", g.Ref, g.URL, err)}
	}
	return unavailable{fmt.Errorf("%s at %s is not pinned: it is commit %s today; `pipelines bump` writes that down", g.Ref, g.URL, commit)}
}

// commitOf returns the commit that a tag or branch has today.
func (f *Fetcher) commitOf(ctx context.Context, url, ref string) (string, error) {
	refs, err := f.refs(ctx, url, ref, ref+"^{}")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"refs/tags/" + ref, "refs/heads/" + ref, ref} {
		if commit := refs[name]; commit != "" {
			return commit, nil
		}
	}
	return "", fmt.Errorf("%s has no tag or branch %s: correct it", url, ref)
}

// refs lists the refs of a repository that match patterns, with their commits.
func (f *Fetcher) refs(ctx context.Context, url string, patterns ...string) (map[string]string, error) {
	out, err := command.Output(ctx, f.gitCommand(ctx, append([]string{"ls-remote", "--quiet", url}, patterns...)...))
	if err != nil {
		return nil, fmt.Errorf("the repository %s does not answer: %w", url, err)
	}
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		commit, ref, _ := strings.Cut(strings.TrimSpace(line), "\t")
		// An annotated tag is listed twice: its commit is the one with ^{}, which comes last.
		refs[strings.TrimSuffix(ref, "^{}")] = commit
	}
	return refs, nil
}

// inRepository looks for the commit of a place in the cache's own repository.
func (t *task) inRepository(ctx context.Context, place versions.Place) (Fetched, error) {
	if !t.hasCommit(ctx, place) {
		return Fetched{}, errNotCached
	}
	fetched, err := t.git(ctx, place, "")
	fetched.From = FromCache
	return fetched, err
}

// hasCommit reports whether the cache's own repository has the commit of a place, from
// which Fetch makes the file.
func (f *Fetcher) hasCommit(ctx context.Context, place versions.Place) bool {
	if place.Git == nil || place.Git.Ref != "" {
		return false
	}
	path := f.repositoryPath(place)
	return files.Exists(path) && gitRepository{f, path}.has(ctx, place.Git.Commit)
}

// repositoryPath is the bare repository of a place's address.
func (f *Fetcher) repositoryPath(place versions.Place) string {
	return filepath.Join(f.Dir, "git", fmt.Sprintf("%x.git", sha256.Sum256([]byte(place.Git.URL))))
}

// repository locks the bare repository, and makes it if it is missing.
func (t *task) repository(ctx context.Context, place versions.Place) (g gitRepository, unlock func(), err error) {
	g = gitRepository{t.Fetcher, t.repositoryPath(place)}
	if unlock, err = files.Lock(ctx, strings.TrimSuffix(g.dir, ".git")+".lock", t.waiting()); err != nil {
		return g, nil, err
	}
	if err = g.prepare(ctx); err != nil {
		unlock()
	}
	return g, unlock, err
}

type gitRepository struct {
	*Fetcher
	dir string
}

// prepare makes the repository if it is missing.
func (g gitRepository) prepare(ctx context.Context) error {
	// Git holds this lock during a whole fetch, and leaves it behind if it is killed.
	if err := os.Remove(filepath.Join(g.dir, "shallow.lock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing what a killed fetch left in the source cache: %w", err)
	}
	if files.Exists(filepath.Join(g.dir, "HEAD")) {
		return nil
	}
	if _, err := command.LookPath("git"); err != nil {
		return unavailable{errors.New("git is not installed: apt-get install git")}
	}
	if err := g.run(ctx, "init", "--quiet", "--bare", "."); err != nil {
		return fmt.Errorf("making a repository in the source cache: %w", err)
	}
	return nil
}

func (g gitRepository) has(ctx context.Context, commit string) bool {
	return g.run(ctx, "cat-file", "-e", commit+"^{tree}") == nil
}

// fetch fetches one commit without its history.
func (g gitRepository) fetch(ctx context.Context, url, commit string, options ...string) error {
	args := slices.Concat([]string{"fetch", "--quiet", "--no-tags", "--depth=1"}, options, []string{url, commit})
	if !strings.Contains(url, "://") {
		// A clone on this machine may not be configured to serve any commit by its hash.
		args = slices.Insert(args, 1, "--upload-pack=git -c uploadpack.allowAnySHA1InWant=true upload-pack")
	}
	err := g.run(ctx, args...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if g.run(ctx, "ls-remote", "--quiet", url, "HEAD") == nil {
		return fmt.Errorf("%s has no commit %s, or does not serve commits by hash: %w", url, commit, err)
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

func (g gitRepository) run(ctx context.Context, args ...string) error {
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return err
	}
	cmd := g.gitCommand(ctx, args...)
	cmd.Dir = g.dir
	cmd.Env = append(cmd.Env, "GIT_DIR=.")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if path := git.Foreign(stderr.String()); path != "" {
			// An exception in the user's settings would not help: they are not read.
			return fmt.Errorf("%s %w: run this as its owner, or give a copy of it (cp -r) instead", path, git.ErrForeign)
		}
		said := strings.ReplaceAll(strings.TrimSpace(stderr.String()), "\n", "; ")
		return fmt.Errorf("running git %s: %w: %s", args[0], err, said)
	}
	return nil
}

// A git server counts as stalled below slowGit bytes a second. It is given packing times
// as long as other servers, because it packs the objects before it sends them.
const (
	slowGit = 512
	packing = 4
)

// gitCommand is git without the settings of the user or the machine, and without
// prompts. It gives up on a server that stalls.
func (f *Fetcher) gitCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := git.Command(ctx, args...)
	cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		fmt.Sprintf("GIT_HTTP_LOW_SPEED_LIMIT=%d", slowGit),
		fmt.Sprintf("GIT_HTTP_LOW_SPEED_TIME=%.0f", packing*cmp.Or(f.Pace.Stall, 30*time.Second).Seconds()))
	return cmd
}
