package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/rootfs/agent"
)

// dialogue is what this program and the agent of a guest say to each other.
type dialogue struct {
	bootable
	// brief says that it ends with the first answer.
	brief   bool
	address agent.Address
	console *console
	start   time.Time

	// answered is the time from QEMU's start to the first answer, 0 without one.
	answered time.Duration
	version  agent.Version
	details  agent.Details
	// err is why it ended early, and tail is the end of the console.
	err  error
	tail []string
	// found are the checks of what the agent did.
	found []report.Check
}

// The time for one try to reach the agent, for one request, and between two tries.
const (
	tryTime     = 2 * time.Second
	requestTime = time.Minute
	between     = 100 * time.Millisecond
)

// shellPort is the vsock port of the agent's debug console.
const shellPort = 1026

// parameters returns those of the kernel for what the agent is asked to do.
func (d *dialogue) parameters() string {
	if (d.tools || d.extension != nil) && !d.brief {
		return fmt.Sprintf("agent.debug_console agent.debug_console_vport=%d", shellPort)
	}
	return ""
}

func (d *dialogue) begin(address agent.Address, c *console) {
	d.address, d.console, d.start = address, c, time.Now()
}

// talk waits for the agent and for systemd, and asks the agent for all it can do.
func (d *dialogue) talk(ctx context.Context) error {
	client, err := d.reach(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	d.answered = time.Since(d.start)
	if d.version, err = client.Version(ctx); err != nil {
		return err
	}
	standIn := strings.HasSuffix(d.version.Agent, agent.StandIn)
	if !standIn {
		if d.details, err = client.Details(ctx); err != nil {
			return err
		}
	}
	if d.console.soFar().systemd || d.image != nil {
		select {
		case <-d.console.up:
		case <-ctx.Done():
			return errors.New("the agent answers, but " + d.console.soFar().position())
		}
	}
	if d.brief {
		return nil
	}
	d.result(agentCheck, d.said(standIn), nil)
	if !standIn {
		d.use(ctx, client)
	}
	return nil
}

// reach tries until the agent says that it serves.
func (d *dialogue) reach(ctx context.Context) (*agent.Client, error) {
	for {
		client, err := d.try(ctx)
		if err == nil {
			return client, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(between):
		}
	}
}

func (d *dialogue) try(ctx context.Context) (*agent.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	connection, err := d.address.Dial(ctx, agent.Port)
	if err != nil {
		return nil, err
	}
	client := agent.NewClient(connection)
	if err := client.Check(ctx); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

// said says what the agent has said about itself.
func (d *dialogue) said(standIn bool) string {
	if standIn {
		return fmt.Sprintf("a stand-in (%s) serves, with the interface %s", d.version.Agent, d.version.API)
	}
	seccomp := "without seccomp"
	if d.details.Seccomp {
		seccomp = "with seccomp"
	}
	return fmt.Sprintf("%s serves, with the interface %s, %s; features: %s; storages: %s; memory in blocks of %d MiB",
		d.version.Agent, d.version.API, seccomp, strings.Join(d.details.Features, " "), strings.Join(d.details.Storages, " "), d.details.MemoryBlock>>20)
}

// use has a real agent do its work. Each request has time of its own.
func (d *dialogue) use(ctx context.Context, client *agent.Client) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	if d.extension != nil {
		saw, err := d.mounted(ctx)
		d.result(extensionCheck, saw, err)
	}
	if d.tools {
		saw, err := d.types(ctx)
		d.result(typesCheck, saw, err)
	}
	if d.pause {
		saw, err := d.runPause(ctx, client)
		d.result(containerCheck, saw, err)
	}
}

// runPause makes a sandbox with a container from the pause bundle, and removes both.
func (*dialogue) runPause(ctx context.Context, client *agent.Client) (string, error) {
	const id, seconds = "kata-verify", 10
	if err := client.CreateSandbox(ctx, id); err != nil {
		return "", err
	}
	if err := client.StartPause(ctx, id); err != nil {
		return "", err
	}
	processes, err := client.Processes(ctx, id)
	if err == nil && processes != 1 {
		err = fmt.Errorf("the container has %d processes: want one", processes)
	}
	if err := errors.Join(err, client.RemoveContainer(ctx, id, seconds)); err != nil {
		return "", err
	}
	if _, err := client.Processes(ctx, id); err == nil {
		return "", errors.New("the container was removed, and the agent still knows it")
	}
	return "sandbox made; container from the pause bundle started, with one process, and removed", client.DestroySandbox(ctx)
}

// types has bpftool list the types of the running kernel.
func (d *dialogue) types(ctx context.Context) (string, error) {
	const none = "no types"
	list := "bpftool btf list"
	if d.extension != nil {
		list = d.extension.folder() + "/usr/bin/devkit-enter -c '" + list + "'"
	}
	saw, err := d.shell(ctx, "[ -e /sys/kernel/btf/vmlinux ] || echo "+none+"; "+list, func(line string) bool {
		return line == none || strings.Contains(line, "name [vmlinux]")
	})
	if saw == none {
		return "", report.Missing("the kernel has no BTF: name a tarball of kernel-debug with --kernel")
	}
	return "bpftool lists " + saw, err
}

// shell runs a command over the agent's debug console, and returns the line that is looked for
// in what it prints.
func (d *dialogue) shell(ctx context.Context, script string, wanted func(line string) bool) (string, error) {
	shell, err := d.address.Dial(ctx, shellPort)
	if err != nil {
		return "", fmt.Errorf("the debug console of the agent: %w", err)
	}
	defer shell.Close()
	if deadline, limited := ctx.Deadline(); limited {
		if err := shell.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(shell, script+"; exit\n"); err != nil {
		return "", err
	}
	printed, err := io.ReadAll(io.LimitReader(shell, 1<<20))
	for line := range strings.Lines(string(printed)) {
		if line = strings.TrimSpace(line); wanted(line) {
			return line, nil
		}
	}
	return "", errors.Join(fmt.Errorf("%s prints %q", script, printed), err)
}

func (d *dialogue) result(name, saw string, err error) {
	var one report.Report
	one.Result(name, saw, err)
	d.found = append(d.found, one.Checks...)
}

// add adds the checks to a report.
func (d *dialogue) add(r *report.Report) {
	for _, check := range d.found {
		if check.Verdict == report.Failed {
			check.Console = d.tail
		}
		r.Add(check)
	}
}
