package kernel

import (
	"fmt"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/guest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// session is one boot and its result.
type session struct {
	*files
	*guest.Console
	machine host.Machine
	spec    host.Guest
	// nonce is the content of files on the disk and in the shared folder.
	nonce string
	// noDisk is why the disk is empty, and diskSum the hash of its content.
	noDisk  report.Missing
	diskSum string

	result host.Result
}

func (g *session) booted() report.Check {
	c := g.Booted(g.machine, g.result)
	if len(g.result.Tail) == 0 && c.Verdict == report.Failed && g.options[g.machine.ConsoleOption] != "y" {
		c.Saw += fmt.Sprintf(", which needs the option %s of the kernel", g.machine.ConsoleOption)
	}
	return c
}
