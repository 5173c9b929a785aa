package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

// Bootstrapper makes builder bases with mmdebstrap.
type Bootstrapper struct {
	// Dir keeps the bases that were made.
	Dir string
	// Mirror is the address of a Debian archive; "" is the machine's own, or
	// else mmdebstrap's default.
	Mirror string
}

// Base returns the path of a minimal Debian system as an OCI archive (an image
// layout in a tar) with one layer, and the digest of its manifest. It is made
// once for a suite, a Debian architecture and an epoch; processes that share
// Dir take turns, and a damaged base is made again. Log gets the output of
// mmdebstrap.
func (b *Bootstrapper) Base(ctx context.Context, suite, debArch string, epoch int, log io.Writer) (path, digest string, err error) {
	arch, ok := architectures[debArch]
	if !ok {
		return "", "", fmt.Errorf("no builder base for the Debian architecture %q; known ones are %s", debArch, knownArches())
	}
	if !packageName.MatchString(suite) {
		return "", "", fmt.Errorf("%q is not the name of a Debian suite; correct the builder", suite)
	}
	path = filepath.Join(b.Dir, fmt.Sprintf("base-%s-%s-%d.tar", suite, debArch, epoch))
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return "", "", err
	}
	defer unlock()
	digest, err = intact(ctx, path)
	if err == nil {
		return path, digest, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(log, "making the builder base again: %v\n", err)
	}
	args, err := b.arguments(ctx, suite, debArch)
	if err == nil {
		digest, err = replace(ctx, path, args, arch, log)
	}
	if err != nil {
		return "", "", fmt.Errorf("bootstrapping the builder base %s %s: %w", suite, debArch, err)
	}
	return path, digest, nil
}

// replace makes a base and puts it at path; the caller has its lock.
func replace(ctx context.Context, path string, args []string, arch string, log io.Writer) (digest string, err error) {
	work := path + ".work"
	// A killed process left it: nobody else works there while the lock is held.
	if err := os.RemoveAll(work); err != nil {
		return "", fmt.Errorf("removing an unfinished base: %w", err)
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return "", fmt.Errorf("making a work folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	made, err := mmdebstrap(ctx, filepath.Join(work, "layer.tar"), args, log)
	if err != nil {
		return "", err
	}
	return keep(ctx, path, work, made, arch)
}

// arguments returns those that have mmdebstrap write a base to its output.
func (b *Bootstrapper) arguments(ctx context.Context, suite, debArch string) ([]string, error) {
	mirror := b.Mirror
	if mirror == "" {
		var err error
		if mirror, err = Mirror(ctx); err != nil {
			return nil, err
		}
	}
	// The names of this machine and of its resolvers do not belong in a base.
	args := []string{"--variant=minbase", "--architectures=" + debArch, "--format=tar",
		`--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"`}
	if strings.HasPrefix(mirror, "https:") {
		args = append(args, "--include=ca-certificates")
	}
	args = append(args, suite, "-")
	if mirror != "" {
		args = append(args, mirror)
	}
	return args, nil
}

// mmdebstrap writes a layer to path.
func mmdebstrap(ctx context.Context, path string, args []string, log io.Writer) (layer, error) {
	file, err := os.Create(path)
	if err != nil {
		return layer{}, fmt.Errorf("creating the layer: %w", err)
	}
	defer file.Close()
	hash, printed := sha256.New(), &tail{}
	cmd := command.New(ctx, "mmdebstrap", args...)
	cmd.Env = append(cmd.Env, "LC_ALL=C.UTF-8", fmt.Sprintf("SOURCE_DATE_EPOCH=%d", created.Unix()))
	cmd.Stdout = io.MultiWriter(file, hash)
	cmd.Stderr = io.MultiWriter(log, printed)
	if err := cmd.Run(); errors.Is(err, exec.ErrNotFound) {
		return layer{}, fmt.Errorf("%w; apt-get install mmdebstrap", err)
	} else if err != nil {
		return layer{}, command.Failure(ctx, cmd, err, printed.text)
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return layer{}, fmt.Errorf("measuring the layer: %w", err)
	}
	if err := file.Close(); err != nil {
		return layer{}, fmt.Errorf("closing the layer: %w", err)
	}
	return layer{Path: path, SHA256: hex.EncodeToString(hash.Sum(nil)), Size: size}, nil
}

// tail keeps the end of what is written to it.
type tail struct{ text string }

func (t *tail) Write(p []byte) (int, error) {
	t.text += string(p)
	t.text = t.text[max(0, len(t.text)-2048):]
	return len(p), nil
}
