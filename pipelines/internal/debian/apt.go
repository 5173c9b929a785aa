// Package debian takes two things from a Debian archive: the address and hash of
// a file of a source package, out of the signed index, and the base of a builder,
// made with mmdebstrap where no container registry answers. It names no mirror:
// both use the one that the machine's own apt is configured with, and neither
// touches the machine's apt state.
package debian

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// aptConf clears the machine's hooks that apt runs around an update: they concern
// the machine's own indexes.
const aptConf = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`

// apt runs a program of apt in a private root.
func apt(ctx context.Context, root, program string, args ...string) (string, error) {
	options := []string{"-q", "-c", filepath.Join(root, "apt.conf")}
	for _, option := range []struct{ name, value string }{
		{"Dir::Etc::sourcelist", filepath.Join(root, "sources.list")},
		{"Dir::Etc::sourceparts", "/dev/null"},
		{"Dir::State", filepath.Join(root, "state")},
		{"Dir::State::lists", "lists/"},
		{"Dir::Cache", filepath.Join(root, "cache")},
		{"APT::Update::Error-Mode", "any"},
	} {
		options = append(options, "-o", option.name+"="+option.value)
	}
	// apt-get source skips files that exist in the current folder.
	return output(ctx, filepath.Join(root, "empty"), program, append(options, args...)...)
}

// lookUpFresh returns the files of a source package. If the index on this machine
// lacks it, it fetches a newer one.
func lookUpFresh(ctx context.Context, root, pkg, version string) ([]Archive, error) {
	archives, err := lookUp(ctx, root, pkg, version)
	// apt's exit status does not tell a missing index from a missing version:
	// a newer index is the remedy for both.
	var exit *exec.ExitError
	if err == nil || ctx.Err() != nil || !errors.As(err, &exit) {
		return archives, err
	}
	if err := update(ctx, root); err != nil {
		return nil, err
	}
	return lookUp(ctx, root, pkg, version)
}

func update(ctx context.Context, root string) error {
	if _, err := apt(ctx, root, "apt-get", "update"); err != nil {
		return fmt.Errorf("fetching the index: %w", err)
	}
	return nil
}

func lookUp(ctx context.Context, root, pkg, version string) ([]Archive, error) {
	out, err := apt(ctx, root, "apt-get", "-o", "Acquire::ForceHash=SHA256", "--only-source", "--print-uris", "source", pkg+"="+version)
	if err != nil {
		return nil, err
	}
	return parseURIs(out)
}

// parseURIs reads apt's list of files, one a line, among its own remarks:
//
//	'http://mirror/pool/x.tar.xz' x.tar.xz 1234 SHA256:abc
func parseURIs(text string) ([]Archive, error) {
	var archives []Archive
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "'") {
			continue
		}
		fields := strings.Fields(command.Redact(line))
		if len(fields) != 4 {
			return nil, fmt.Errorf("apt-get --print-uris wrote %q, which is not address, name, size and hash", fields)
		}
		size, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("apt-get --print-uris wrote the size %q: %w", fields[2], err)
		}
		hash, ok := strings.CutPrefix(fields[3], "SHA256:")
		if !ok {
			return nil, fmt.Errorf("apt-get --print-uris wrote the hash %q, which is not a SHA256", fields[3])
		}
		address, _, _ := strings.Cut(line[1:], "'")
		archives = append(archives, Archive{Name: fields[1], URL: address, SHA256: hash, Size: size})
	}
	return archives, nil
}

func versionsIn(entries string) []string {
	var versions []string
	for line := range strings.Lines(entries) {
		if version, ok := strings.CutPrefix(line, "Version: "); ok {
			versions = append(versions, strings.TrimSpace(version))
		}
	}
	return versions
}

// ordered sorts versions as dpkg does, by insertion: there are few.
func ordered(ctx context.Context, versions []string) (sorted []string, err error) {
	for _, version := range versions {
		at := len(sorted)
		for ; at > 0; at-- {
			cmd := command.New(ctx, "dpkg", "--compare-versions", version, "lt", sorted[at-1])
			var exit *exec.ExitError
			if err := cmd.Run(); errors.As(err, &exit) && exit.ExitCode() == 1 {
				break
			} else if err != nil {
				return nil, command.Failure(ctx, cmd, err, "")
			}
		}
		sorted = slices.Insert(sorted, at, version)
	}
	return slices.Compact(sorted), nil
}

// keyring holds the keys of the Debian archive, on Ubuntu as well.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// output runs a program in dir and returns its output, in English.
func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := command.New(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, append(cmd.Env, "LC_ALL=C.UTF-8")
	return command.Output(ctx, cmd)
}

// osRelease names the distribution of this machine.
const osRelease = "/etc/os-release"

// Mirror returns the address of the Debian archive (not the security one) that
// this machine's apt uses, "" where none is configured: on Ubuntu, or without
// apt. The address may have credentials.
func Mirror(ctx context.Context) (string, error) { return mirrorOf(ctx, osRelease) }

func mirrorOf(ctx context.Context, osRelease string) (string, error) {
	mirror, err := firstTarget(ctx, "Origin: Debian", "Label: Debian")
	if errors.Is(err, exec.ErrNotFound) {
		return "", nil
	}
	if mirror != "" || err != nil {
		return mirror, err
	}
	// A fresh container image has no index yet, so no signature names Debian:
	// trust the configuration of a Debian machine.
	codename, err := codename(osRelease)
	if codename == "" || err != nil {
		return "", err
	}
	return firstTarget(ctx, "--no-release-info", "Release: "+codename)
}

// firstTarget returns the first usable address of those indexes of main packages
// that apt is configured to use and that have the given fields.
func firstTarget(ctx context.Context, fields ...string) (string, error) {
	args := []string{"indextargets", "--format", "$(REPO_URI)", "Component: main"}
	out, err := output(ctx, "", "apt-get", append(args, fields...)...)
	if err != nil {
		return "", fmt.Errorf("asking apt for its mirror: %w", err)
	}
	for line := range strings.Lines(out) {
		mirror, err := reachable(strings.TrimSpace(line))
		if mirror != "" || err != nil {
			return mirror, err
		}
	}
	return "", nil
}

// reachable returns an address that other programs and containers can use too:
// an http one as it is, the first of a list of mirrors (Debian's cloud images
// have one), and "" for a medium that only apt can read.
func reachable(uri string) (string, error) {
	scheme, rest, _ := strings.Cut(uri, ":")
	switch scheme {
	case "http", "https":
		return strings.TrimSuffix(uri, "/"), nil
	case "mirror+file":
		data, err := os.ReadFile("/" + strings.Trim(rest, "/"))
		if err != nil {
			return "", fmt.Errorf("reading apt's list of mirrors: %w", err)
		}
		for _, word := range strings.Fields(string(data)) {
			if u, err := url.Parse(word); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
				return strings.TrimSuffix(word, "/"), nil
			}
		}
	}
	return "", nil
}

// codename returns the release of this machine where it is Debian, else "".
func codename(osRelease string) (string, error) {
	data, err := os.ReadFile(osRelease)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the name of the distribution: %w", err)
	}
	var id, name string
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			id = value
		case "VERSION_CODENAME":
			name = value
		}
	}
	if id != "debian" {
		return "", nil
	}
	return name, nil
}
