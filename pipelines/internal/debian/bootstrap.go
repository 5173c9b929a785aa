package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
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
		return "", "", fmt.Errorf("no builder base for the Debian architecture %q; known ones are %s", debArch, strings.Join(slices.Sorted(maps.Keys(architectures)), ", "))
	}
	if !packageName.MatchString(suite) {
		return "", "", fmt.Errorf("%q is not the name of a Debian suite; correct the builder", suite)
	}
	path = filepath.Join(b.Dir, fmt.Sprintf("base-%s-%s-%d.tar", suite, debArch, epoch))
	unlock, err := files.Lock(ctx, path+".lock", files.Waiting{})
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
	// A killed process left it: no other process works there while the lock is held.
	if err := os.RemoveAll(work); err != nil {
		return "", fmt.Errorf("removing an unfinished base: %w", err)
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return "", fmt.Errorf("making a work folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	layer := filepath.Join(work, "layer.tar")
	if err := mmdebstrap(ctx, layer, args, log); err != nil {
		return "", err
	}
	return keep(ctx, path, layer, arch)
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
func mmdebstrap(ctx context.Context, path string, args []string, log io.Writer) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("creating the layer: %w", err)
	}
	defer file.Close()
	var printed bytes.Buffer
	cmd := command.New(ctx, "mmdebstrap", args...)
	cmd.Env = append(cmd.Env, "LC_ALL=C.UTF-8", fmt.Sprintf("SOURCE_DATE_EPOCH=%d", created.Unix()))
	cmd.Stdout, cmd.Stderr = file, io.MultiWriter(log, &printed)
	if err := cmd.Run(); errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w; apt-get install mmdebstrap", err)
	} else if err != nil {
		return command.Failure(ctx, cmd, err, printed.String())
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("closing the layer: %w", err)
	}
	return nil
}
