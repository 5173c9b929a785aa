// Package debian takes two things from a Debian archive without naming one:
// the place and hash of a file of a source package, out of the signed index,
// and the base of a builder, made with mmdebstrap where no container registry
// answers. Both use the mirror that the machine's own apt is configured with,
// and neither touches the machine's apt state.
package debian

import (
	"bytes"
	"context"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
)

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
