//go:build integration

package node_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/node"
)

// A node has a systemd, files and a network of its own, and leaves nothing behind.
func TestNode(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	before, _ := filepath.Glob("/sys/fs/cgroup/*/kata-node-*")
	const unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'echo from the node > /opt/mark'\n"
	n, err := node.Start(t.Context(), host.Host{Timeout: time.Minute}, node.Spec{
		Root: root, Files: map[string]string{"/etc/systemd/system/mark.service": unit}, Units: []string{"mark.service"}, Ready: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"systemctl", "start", "mark.service"}, {"test", "-s", "/opt/mark"}, {"busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "Version"},
		{"sh", "-c", "! touch /usr/new 2>/dev/null"}, {"mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/opt"},
	} {
		if _, err := n.Run(t.Context(), args...); err != nil {
			t.Error(err)
		}
	}
	names, err := n.Run(t.Context(), "sh", "-c", "uname -n; ls /sys/class/net /home 2>&1")
	if err == nil && (!strings.HasPrefix(names, "node\n") || !strings.Contains(names, "lo")) {
		t.Errorf("got %s, %v", names, err)
	}
	var listener net.Listener
	err = n.Inside(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:6443")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:6443"); err == nil {
		t.Error("this machine reaches a socket of the node")
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/kata-node-*"); len(left) > len(before) {
		t.Errorf("it left %v", left)
	}
	if data, err := os.ReadFile(filepath.Join(root, "opt/mark")); err != nil || string(data) != "from the node\n" {
		t.Errorf("the node's file has %q, %v", data, err)
	}
}
