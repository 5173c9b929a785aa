// Package debian takes two things from a Debian archive without naming one:
// the place and hash of a file of a source package, out of the signed index,
// and the base of a builder, made with mmdebstrap where no container registry
// answers. Both use the mirror that the machine's own apt is configured with,
// and neither touches the machine's apt state.
package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// aptConf drops what the machine has apt run after an update, which is about
// the machine's own indexes.
const aptConf = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`

// apt runs apt-get in a private root.
func apt(ctx context.Context, root string, args ...string) ([]byte, error) {
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
	// apt-get source leaves out files that lie in the current folder.
	return output(ctx, filepath.Join(root, "empty"), "apt-get", append(options, args...)...)
}

// lookUpFresh returns the files of a source package, of a newer index where
// the one that is here lacks it.
func lookUpFresh(ctx context.Context, root, pkg, version string) ([]Archive, error) {
	archives, err := lookUp(ctx, root, pkg, version)
	// apt's exit status does not tell a missing index from a missing version:
	// a newer index is the remedy for both.
	var exit *exec.ExitError
	if err == nil || ctx.Err() != nil || !errors.As(err, &exit) {
		return archives, err
	}
	if _, err := apt(ctx, root, "update"); err != nil {
		return nil, fmt.Errorf("fetching the index: %w", err)
	}
	return lookUp(ctx, root, pkg, version)
}

func lookUp(ctx context.Context, root, pkg, version string) ([]Archive, error) {
	out, err := apt(ctx, root, "-o", "Acquire::ForceHash=SHA256", "--only-source", "--print-uris", "source", pkg+"="+version)
	if err != nil {
		return nil, err
	}
	return parseURIs(string(out))
}

// parseURIs reads apt's list of files, a line each beside its own remarks:
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

// keyring holds the keys of the Debian archive, on Ubuntu as well.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// output runs a program in dir and returns what it wrote. It speaks English.
func output(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	cmd := command.New(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, append(cmd.Env, "LC_ALL=C.UTF-8")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, command.Failure(ctx, cmd, err, stderr.String())
	}
	return stdout.Bytes(), nil
}
