package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/rootfs/agent"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/testtools"
)

// monitor boots guests.
type monitor struct {
	host.Host
	machine host.Machine
	qemu    string
	// kernel is a guest with only the kernel, and dir has the files of boots.
	kernel host.Guest
	dir    string
	// daemon is vhost-device-vsock, "" if the host has the device.
	daemon string
}

// findVsock looks for the device of the host, and otherwise for the daemon.
func (m *monitor) findVsock(ctx context.Context) (err error) {
	if host.Usable(host.VhostVsock) == nil {
		return nil
	}
	if m.machine.Bus != "pci" {
		return report.Missing(fmt.Sprintf("no %s, and QEMU has no vsock over vhost-user for %s", host.VhostVsock, m.machine.Program))
	}
	m.daemon, err = testtools.VhostDeviceVsock.Build(ctx, m.Host)
	return err
}

// vsock gives a guest its device, and returns where its agent is reached.
func (m *monitor) vsock(ctx context.Context, g *host.Guest) (address agent.Address, stop func() error, err error) {
	if m.daemon == "" {
		g.Vsock = host.VsockAddress()
		return agent.Address{CID: g.Vsock}, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp(m.dir, "v")
	if err != nil {
		return address, nil, err
	}
	g.VsockSocket, address.Socket = filepath.Join(dir, "vhost"), filepath.Join(dir, "uds")
	d, err := host.StartDaemon(ctx, host.DaemonSpec{
		Program: m.daemon, Args: []string{"--vm", fmt.Sprintf("guest-cid=3,socket=%s,uds-path=%s", g.VsockSocket, address.Socket)},
		Socket: address.Socket, Log: filepath.Join(dir, "log"), Ready: 10 * time.Second,
	})
	if err != nil {
		return address, nil, err
	}
	// It may make the socket for QEMU a little later. QEMU reports one that does not come.
	for range 100 {
		if _, err := os.Stat(g.VsockSocket); err == nil {
			break
		}
		time.Sleep(between)
	}
	return address, d.Kill, nil
}

// errTalked ends a guest whose agent has said everything.
var errTalked = errors.New("the agent has answered")

// boot boots in one way, speaks to the agent, and returns the check of the boot.
func (m *monitor) boot(ctx context.Context, w way, d *dialogue) (check report.Check, failed error) {
	g := w.guest
	g.Kernel, g.Accelerator = m.kernel.Kernel, m.kernel.Accelerator
	if w.changed {
		if err := d.change(); err != nil {
			return report.Check{}, fmt.Errorf("changing the image: %w", err)
		}
		defer func() { failed = cmp.Or(failed, d.change()) }()
	}
	address, stop, err := m.vsock(ctx, &g)
	if err != nil {
		return report.Check{}, err
	}
	ending, end := context.WithCancelCause(ctx)
	defer end(nil)
	c := newConsole()
	talked := make(chan error, 1)
	m.Note(w.check + " in " + m.machine.Program)
	d.begin(address, c)
	go func() {
		talked <- d.talk(ending)
		end(errTalked)
	}()
	parameters := strings.TrimSpace(w.parameters + " " + common + " " + d.parameters())
	result, err := m.Boot(ending, m.qemu, m.machine.Rooted(g, parameters), c.line)
	end(nil)
	err = errors.Join(ignore(err, errTalked), stop())
	d.err, d.tail = <-talked, result.Tail
	if err != nil {
		return report.Check{}, err
	}
	return w.judge(c.soFar(), d, result), nil
}

func ignore(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// judge returns the check of a boot.
func (w way) judge(c told, d *dialogue, result host.Result) report.Check {
	check := report.Check{Name: w.check, Verdict: report.Failed, Console: result.Tail}
	saw, err := w.outcome(c, d, result)
	if err != nil {
		check.Saw = err.Error()
		return check
	}
	return report.Check{Name: w.check, Verdict: report.Passed, Saw: saw}
}

// outcome says what a boot showed.
func (w way) outcome(c told, d *dialogue, result host.Result) (string, error) {
	seconds := result.Elapsed.Seconds()
	switch {
	case result.Ending == host.Refused:
		return "", fmt.Errorf("QEMU failed: %s", result.Stderr)
	case w.changed && d.answered > 0:
		return "", errors.New("it boots, although one byte was changed after it was hashed")
	case w.changed && c.corrupt == "":
		return "", fmt.Errorf("it does not boot, but dm-verity does not say that it is corrupt; after %.1f s: %s", seconds, c.position())
	case w.changed:
		return fmt.Sprintf("refused: %s; %s", c.corrupt, c.position()), nil
	case d.answered == 0:
		return "", fmt.Errorf("the agent did not answer within %.0f s: %s", seconds, c.position())
	case d.err != nil:
		return "", d.err
	case w.extension != "" && !c.mounted:
		return "", fmt.Errorf("the agent answers, but systemd has not mounted the extension %s", w.extension)
	case w.dax && c.daxRefused != "":
		return "", fmt.Errorf("the agent answers, but without DAX: %s", c.daxRefused)
	}
	how := "kata-containers.target reached, kata-agent.service started"
	if !c.systemd {
		how = "the agent is the first process"
	}
	if w.dax {
		how = "mounted with DAX; " + how
	}
	if w.extension != "" {
		how = "extension " + w.extension + " mounted; " + how
	}
	return fmt.Sprintf("%s; the agent answered %.1f s after QEMU's start", how, d.answered.Seconds()), nil
}
