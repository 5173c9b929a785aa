package agent

import (
	"context"
	"encoding/json"
	"fmt"
)

// What the agent takes for the request to unpack the pause bundle of its image, as the
// container that holds the namespaces of a sandbox.
const (
	guestPull     = "image_guest_pull"
	containerType = "io.kubernetes.cri.container-type"
	sandbox       = "sandbox"
	// containers is the agent's folder of containers.
	containers = "/run/kata-containers/"
)

// CreateSandbox makes the sandbox, of which an agent has one.
func (c *Client) CreateSandbox(ctx context.Context, id string) error {
	_, err := c.call(ctx, service, "CreateSandbox", message{}.text(1, id).text(5, id))
	return err
}

// DestroySandbox ends the sandbox, and with it the guest.
func (c *Client) DestroySandbox(ctx context.Context) error {
	_, err := c.call(ctx, service, "DestroySandbox", nil)
	return err
}

// StartPause makes and starts a container from the pause bundle of the image.
func (c *Client) StartPause(ctx context.Context, id string) error {
	volume, err := json.Marshal(map[string]any{"metadata": map[string]string{containerType: sandbox}})
	if err != nil {
		return fmt.Errorf("encoding the volume: %w", err)
	}
	storage := message{}.text(1, guestPull).text(2, guestPull+"="+string(volume)).text(3, "pause").
		text(4, "overlay").text(6, containers+id+"/rootfs")
	request := message{}.text(1, id).text(2, id).nested(5, storage).nested(6, spec(id))
	if _, err := c.call(ctx, service, "CreateContainer", request); err != nil {
		return err
	}
	_, err = c.call(ctx, service, "StartContainer", message{}.text(1, id))
	return err
}

// spec returns the OCI specification of the container. The agent replaces its process by that
// of the bundle.
func spec(id string) message {
	process := message{}.nested(3, nil).text(4, "/none").text(6, "/").nested(7, nil)
	root := message{}.text(1, containers+id+"/rootfs").number(2, 1)
	proc := message{}.text(1, "/proc").text(2, "proc").text(3, "proc")
	dev := message{}.text(1, "/dev").text(2, "tmpfs").text(3, "tmpfs").text(4, "nosuid", "mode=755") // The agent makes its devices there.
	annotation := message{}.text(1, containerType).text(2, sandbox)
	linux := message{}.nested(4, nil).text(5, "/"+id)
	for _, namespace := range []string{"ipc", "uts", "mount", "pid"} {
		linux = linux.nested(6, message{}.text(1, namespace))
	}
	return message{}.text(1, "1.0.2").nested(2, process).nested(3, root).nested(5, proc, dev).nested(7, annotation).nested(8, linux)
}

// Processes returns how many processes a container has, by its cgroup.
func (c *Client) Processes(ctx context.Context, id string) (uint64, error) {
	answer, err := c.call(ctx, service, "StatsContainer", message{}.text(1, id))
	if err != nil {
		return 0, err
	}
	// StatsContainerResponse.cgroup_stats.pids_stats.current
	cgroup, err := parse([]byte(answer.text(1)))
	if err != nil {
		return 0, err
	}
	pids, err := parse([]byte(cgroup.text(3)))
	return pids.numbers[1], err
}

// RemoveContainer kills and removes a container, within seconds.
func (c *Client) RemoveContainer(ctx context.Context, id string, seconds uint64) error {
	_, err := c.call(ctx, service, "RemoveContainer", message{}.text(1, id).number(2, seconds))
	return err
}
