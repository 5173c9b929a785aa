// Package git runs git. It stands on one idea: a command reads the repository
// that it is pointed at and nothing else, so no GIT_ variable of the caller, such
// as those that git sets for a hook, reaches it. It runs the git program rather
// than a library: only git itself applies the user's attributes, filters and
// ownership checks as a checkout did.
package git

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/semver"
)

// ErrUnknown is returned for a revision that the repository does not have.
var ErrUnknown = errors.New("unknown commit")

// ErrForeign is returned for a repository of another user, which git does not read.
var ErrForeign = errors.New("belongs to another user, so git refuses to read it")

// foreign matches git's message about such a repository.
var foreign = regexp.MustCompile(`dubious ownership in repository at '(.*)'`)

// Foreign returns the repository of another user that git refused to read according to
// its output, or "".
func Foreign(printed string) string {
	if m := foreign.FindStringSubmatch(printed); m != nil {
		return m[1]
	}
	return ""
}

// errNoAnswer is returned if git has nothing to print: there is no commit yet, or no
// branch.
var errNoAnswer = errors.New("git has no answer")

// clientVariables are those that git and ssh read to find the user's settings and keys,
// and under sudo the owner whose repositories git reads.
var clientVariables = []string{
	"SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "SSH_AUTH_SOCK", "SUDO_UID", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
}

// Command returns a git command that finds the user's settings and keys, but has none of
// the caller's GIT_ variables. It prints English.
func Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := command.New(ctx, "git", args...)
	cmd.Env = append(command.Environ(clientVariables...), "LC_ALL=C")
	return cmd
}

// Repository is the folder of a checkout, or any folder below it.
type Repository string

// Object is a file of a commit.
type Object struct {
	Mode, ID string
}

// IsFile reports whether it is a regular file, and not a link or a submodule.
func (o Object) IsFile() bool { return o.Mode == "100644" || o.Mode == "100755" }

// Holds reports whether it is a blob of these bytes, by its SHA-1 or SHA-256.
func (o Object) Holds(data []byte) bool {
	sum := sha1.New()
	if len(o.ID) == hex.EncodedLen(sha256.Size) {
		sum = sha256.New()
	}
	fmt.Fprintf(sum, "blob %d\x00", len(data))
	sum.Write(data)
	return hex.EncodeToString(sum.Sum(nil)) == o.ID
}

// run runs git in the repository and returns its output. The error has all of stderr:
// git's advice comes after the first line.
func (r Repository) run(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := Command(ctx, append([]string{"-C", string(r), "--no-replace-objects"}, args...)...)
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
	if path := Foreign(stderr.String()); path != "" {
		return "", fmt.Errorf("%s %w: if you trust its files, run `git config --global --add safe.directory %s`", path, ErrForeign, path)
	}
	return "", fmt.Errorf("running git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
}

func (r Repository) line(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	out, err := r.run(ctx, stdin, args...)
	return strings.TrimSpace(out), err
}

// Head returns the commit that is checked out.
func (r Repository) Head(ctx context.Context) (string, error) {
	head, err := r.line(ctx, nil, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
	if errors.Is(err, errNoAnswer) {
		return "", errors.New("nothing is committed yet: commit the inputs")
	}
	return head, err
}

// Branch returns the branch that is checked out, or "" if there is none: at the
// commit of a tag, or outside a repository.
func (r Repository) Branch(ctx context.Context) string {
	branch, err := r.line(ctx, nil, "symbolic-ref", "--short", "--quiet", "HEAD")
	if err != nil {
		return ""
	}
	return branch
}

// Commit resolves a revision.
func (r Repository) Commit(ctx context.Context, revision string) (string, error) {
	commit, err := r.line(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	if errors.Is(err, errNoAnswer) {
		return "", fmt.Errorf("%w %q: fetch it, or name another", ErrUnknown, revision)
	}
	return commit, err
}

// MergeBase returns the commit at which HEAD forked from another commit.
func (r Repository) MergeBase(ctx context.Context, commit string) (string, error) {
	return r.line(ctx, nil, "merge-base", commit, "HEAD")
}

// Time returns the time of a commit.
func (r Repository) Time(ctx context.Context, commit string) (time.Time, error) {
	text, err := r.line(ctx, nil, "show", "--no-patch", "--format=%ct", commit)
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0), err
}

// Files returns the files of a commit below the repository's folder, without
// checking them out.
func (r Repository) Files(ctx context.Context, commit string) (fs.FS, error) {
	data, err := r.run(ctx, nil, "archive", "--format=zip", "-0", commit)
	if err != nil {
		return nil, err
	}
	return zip.NewReader(strings.NewReader(data), int64(len(data)))
}

// Objects lists the files of a commit below the repository's folder. A submodule is one
// entry.
func (r Repository) Objects(ctx context.Context, commit string) (map[string]Object, error) {
	out, err := r.run(ctx, nil, "ls-tree", "-r", "-z", commit)
	if err != nil {
		return nil, err
	}
	objects := map[string]Object{}
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		about, name, _ := strings.Cut(line, "\t")
		if fields := strings.Fields(about); len(fields) == 3 { // <mode> <type> <id>
			objects[name] = Object{fields[0], fields[2]}
		}
	}
	return objects, nil
}

// Hash returns the id of the blob that git would commit for the content of a file: its
// filters, such as those of line ends, are applied.
func (r Repository) Hash(ctx context.Context, path string, data []byte) (string, error) {
	return r.line(ctx, bytes.NewReader(data), "hash-object", "--stdin", "--path="+path)
}

// Revisions returns HEAD, the branches, and the tag of the newest release.
func (r Repository) Revisions(ctx context.Context) ([]string, error) {
	out, err := r.line(ctx, nil, "for-each-ref", "--format=%(refname:short)", "refs/heads")
	if err != nil {
		return nil, err
	}
	tags, err := r.line(ctx, nil, "for-each-ref", "--format=%(refname:short)", "refs/tags")
	if err != nil {
		return nil, err
	}
	revisions := append([]string{"HEAD"}, strings.Fields(out)...)
	releases := slices.DeleteFunc(strings.Fields(tags), func(tag string) bool { return !semver.Valid(tag) })
	if len(releases) > 0 {
		revisions = append(revisions, slices.MaxFunc(releases, semver.Compare))
	}
	return revisions, nil
}

// Times returns the times of all commits of the repository.
func (r Repository) Times(ctx context.Context) (map[string]time.Time, error) {
	out, err := r.run(ctx, nil, "rev-list", "--all", "HEAD", "--timestamp")
	if err != nil {
		return nil, err
	}
	times := map[string]time.Time{}
	for line := range strings.Lines(out) {
		seconds, commit, _ := strings.Cut(strings.TrimSpace(line), " ")
		if made, err := strconv.ParseInt(seconds, 10, 64); err == nil {
			times[commit] = time.Unix(made, 0)
		}
	}
	return times, nil
}
