package payload

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	r    *run
	name string
	log  string
	done chan struct{}
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
	token := report.Try(r.api.Token(ctx, namespace, p.account))
	r.write(account+"/token", token)
	r.write(account+"/ca.crt", string(r.api.Authority()))
	r.write(account+"/namespace", namespace)
	all := append([]string{"unshare", "--mount", "sh", "-c", podScript, "pod", c.name, image}, p.mounts...)
	all = append(append(all, secrets+"="+account, "--"), p.command[:1]...)
	if len(args) == 0 {
		args = p.command[1:]
	}
	cmd := r.node.Command(ctx, append(all, args...)...)
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

// text is what the container has printed, without its end if that is long.
func (c *container) text() string {
	data, _ := os.ReadFile(c.log) // Without a log there is nothing to add.
	return string(data)
}

// tail is the end of what the container has printed.
func (c *container) tail() string {
	const lines = 12
	all := strings.Split(strings.TrimSpace(c.text()), "\n")
	return host.Indented(strings.Join(all[max(0, len(all)-lines):], "\n"))
}

// installed waits until the container says that it has installed everything.
func (c *container) installed() {
	c.until("the installation", func() bool { return strings.Contains(c.text(), installedMessage) })
}

// installedMessage is the message of the installer after the last step.
const installedMessage = "waiting for SIGTERM"

// until waits for something that a running container does.
func (c *container) until(what string, happened func() bool) {
	const pause = 20 * time.Millisecond
	for limit := time.Now().Add(c.r.Timeout); !happened(); time.Sleep(pause) {
		select {
		case <-c.done:
			if !happened() {
				report.Must(fmt.Errorf("the container ended before %s: %w%s", what, cmp.Or(c.err, errors.New("exit status 0")), c.tail()))
			}
			return
		default:
		}
		report.Want(time.Now().Before(limit), "no end of %s after %v%s", what, c.r.Timeout, c.tail())
	}
}

// running reports whether the container has begun.
func (c *container) running() bool {
	_, err := os.Stat(c.r.node.Path("/run/pod-" + c.name + ".pid"))
	return err == nil
}

// wait waits for the end, and returns how the container ended.
func (c *container) wait() error {
	select {
	case <-c.done:
		return c.err
	case <-time.After(c.r.Timeout):
		report.Must(fmt.Errorf("the container runs after %v%s", c.r.Timeout, c.tail()))
		return nil
	}
}

// terminate asks the container to end, as a kubelet does.
func (c *container) terminate(ctx context.Context) {
	pid := report.Try(os.ReadFile(c.r.node.Path("/run/pod-" + c.name + ".pid")))
	_, err := c.r.node.Run(ctx, "kill", "-TERM", strings.TrimSpace(string(pid)))
	select {
	case <-c.done: // It had ended.
	default:
		report.Must(err)
	}
}

// kill kills the container with everything that it started, as a runtime does.
func (c *container) kill() {
	file := c.r.node.Path("/sys/fs/cgroup/pod-" + c.name + "/cgroup.kill")
	report.Must(os.WriteFile(file, []byte("1"), 0o644))
	<-c.done
}

// peak returns the most memory that a running container had at once, in bytes.
func (c *container) peak() int64 {
	pid := report.Try(os.ReadFile(c.r.node.Path("/run/pod-" + c.name + ".pid")))
	status := report.Try(os.ReadFile(c.r.node.Path("/proc/" + strings.TrimSpace(string(pid)) + "/status")))
	_, value, _ := strings.Cut(string(status), "VmHWM:")
	kib := report.Try(strconv.ParseInt(strings.Fields(value)[0], 10, 64))
	return kib << 10
}

// components returns the names of the components of a shim in an unpacked image, for an
// architecture, and the names of all shims.
func components(image, shim, arch string) (names, shims []string, err error) {
	var file struct {
		Shims map[string]map[string][]string
	}
	data, err := os.ReadFile(filepath.Join(image, artifacts, "shim-components.json"))
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	return file.Shims[shim][arch], slices.Sorted(maps.Keys(file.Shims)), err
}
