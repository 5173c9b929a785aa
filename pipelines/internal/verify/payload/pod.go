package payload

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/cluster"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

//go:embed pod.sh
var podScript string

// secrets is where a pod finds what it needs to speak to the API.
const secrets = "/var/run/secrets/kubernetes.io/serviceaccount"

// container is a pod's container that runs, or has ended.
type container struct {
	r         *run
	name, log string
	done      chan struct{}
	// err is how it ended, once done is closed.
	err error
}

// start runs the container of a pod from an image of the node, with further variables. A
// command replaces the pod's.
func (r *run) start(ctx context.Context, p *pod, image string, env []string, args ...string) *container {
	r.count++
	c := &container{r: r, name: fmt.Sprintf("%s-%d", p.name, r.count), done: make(chan struct{})}
	c.log = filepath.Join(r.dir, c.name+".log")
	account := "/run/accounts/" + c.name
	r.write(account+"/token", report.Try(r.api.Token(ctx, namespace, p.account)))
	r.write(account+"/ca.crt", string(r.api.Authority()))
	r.write(account+"/namespace", namespace)
	if len(args) == 0 {
		args = p.command[1:]
	}
	cmd := r.node.Command(ctx, slices.Concat([]string{"unshare", "--mount", "sh", "-c", podScript, "pod", c.name, image},
		p.mounts, []string{secrets + "=" + account, "--", p.command[0]}, args)...)
	cmd.Env = slices.Concat([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=" + cluster.PodPort}, p.env, env)
	log := report.Try(os.Create(c.log))
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	wait := report.Try(host.Start(cmd))
	go func() {
		c.err = wait()
		close(c.done)
	}()
	return c
}

// write writes a file of the node.
func (r *run) write(path, content string) {
	path = r.node.Path(path)
	report.Must(os.MkdirAll(filepath.Dir(path), 0o755))
	report.Must(os.WriteFile(path, []byte(content), 0o644))
}

// lines are what the container has printed.
func (c *container) lines() []string {
	data, _ := os.ReadFile(c.log) // Without a log there is nothing to add.
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// prints reports whether the container has printed a text.
func (c *container) prints(text string) bool {
	return strings.Contains(strings.Join(c.lines(), "\n"), text)
}

// last is the last line that the container has printed.
func (c *container) last() string { return c.lines()[len(c.lines())-1] }

// tail is the end of what the container has printed.
func (c *container) tail() string {
	const most = 12
	lines := c.lines()
	return host.Indented(strings.Join(lines[max(0, len(lines)-most):], "\n"))
}

// installed waits until the container says that it has installed everything.
func (c *container) installed() *container {
	return c.until("the installation", func() bool { return c.prints("waiting for SIGTERM") })
}

// begun waits until the installer runs.
func (c *container) begun() *container {
	return c.until("its start", func() bool {
		_, err := os.Stat(c.pidFile())
		return err == nil
	})
}

// until waits for something that a running container does.
func (c *container) until(what string, happened func() bool) *container {
	const pause = 20 * time.Millisecond
	for limit := time.Now().Add(c.r.Timeout); !happened(); time.Sleep(pause) {
		select {
		case <-c.done:
			report.Want(happened(), "the container ended before %s: %w%s", what, cmp.Or(c.err, errors.New("exit status 0")), c.tail())
		default:
		}
		report.Want(time.Now().Before(limit), "no end of %s after %v%s", what, c.r.Timeout, c.tail())
	}
	return c
}

// sleep waits for some time, or less if the container ends before.
func (c *container) sleep(ctx context.Context, moment time.Duration) {
	select {
	case <-ctx.Done():
	case <-c.done:
	case <-time.After(moment):
	}
}

// wait waits for the end, and returns how the container ended.
func (c *container) wait() error {
	select {
	case <-c.done:
		return c.err
	case <-time.After(c.r.Timeout):
		report.Want(false, "the container runs after %v%s", c.r.Timeout, c.tail())
		return nil
	}
}

// succeeds waits for the end, and expects the exit status 0.
func (c *container) succeeds(what string) {
	err := c.wait()
	report.Want(err == nil, "%s: the container ended with %w%s", what, err, c.tail())
}

func (c *container) pidFile() string { return c.r.node.Path("/run/pod-" + c.name + ".pid") }

// pid is the number of the installer's process.
func (c *container) pid() string {
	return strings.TrimSpace(string(report.Try(os.ReadFile(c.pidFile()))))
}

// terminate asks the container to end, as a kubelet does.
func (c *container) terminate(ctx context.Context) *container {
	_, err := c.r.node.Run(ctx, "kill", "-TERM", c.pid())
	select {
	case <-c.done: // It had ended.
	default:
		report.Must(err)
	}
	return c
}

// kill kills the container with everything that it started, as a runtime does.
func (c *container) kill() {
	report.Must(os.WriteFile(c.r.node.Path("/sys/fs/cgroup/pod-"+c.name+"/cgroup.kill"), []byte("1"), 0o644))
	<-c.done
}

// peak returns the most memory that a running container had at once, in bytes.
func (c *container) peak() int64 {
	status := report.Try(os.ReadFile(c.r.node.Path("/proc/" + c.pid() + "/status")))
	_, value, _ := strings.Cut(string(status), "VmHWM:")
	return report.Try(strconv.ParseInt(strings.Fields(value)[0], 10, 64)) << 10
}
