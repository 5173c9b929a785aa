package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// isolated has a process start in namespaces of its own and in a cgroup. Its cgroup
// namespace is not one of them: that would have the cgroup of this process as its root.
func isolated(cgroup *os.File) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		UseCgroupFD: true, CgroupFD: int(cgroup.Fd()),
	}
}

// makeCgroup makes a cgroup of this process's node, and opens it.
func makeCgroup() (*os.File, error) {
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		var info unix.Statfs_t
		if err := unix.Statfs(root, &info); err != nil || info.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		dir, err := os.MkdirTemp(root, "kata-node-")
		if err != nil {
			return nil, err
		}
		return os.Open(dir)
	}
	return nil, errNoCgroups
}

// removeCgroup removes the node's cgroup with those below it, which systemd made. Only
// the folders: their files go with them.
func (n *Node) removeCgroup() error {
	var dirs []string
	err := filepath.WalkDir(n.cgroup, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	slices.Reverse(dirs)
	for _, dir := range dirs {
		err = errors.Join(err, removeBusy(dir))
	}
	return err
}

// removeBusy removes a cgroup once its processes, which have been killed, are gone.
func removeBusy(dir string) error {
	const pause, tries = 20 * time.Millisecond, 250
	for i := 0; ; i++ {
		err := os.Remove(dir)
		if !errors.Is(err, syscall.EBUSY) || i == tries {
			return err
		}
		time.Sleep(pause)
	}
}

// Inside calls a function in the node's network namespace, for it to open sockets there.
// They stay there. The function must not start goroutines that open sockets.
func (n *Node) Inside(do func() error) error {
	done := make(chan error)
	go func() {
		// The thread ends with the goroutine, so nothing else runs in its namespace.
		runtime.LockOSThread()
		namespace, err := os.Open(n.namespace("net"))
		if err == nil {
			defer namespace.Close()
			err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			done <- fmt.Errorf("entering the node's network: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}

func (n *Node) namespace(kind string) string {
	return fmt.Sprintf("/proc/%d/ns/%s", n.cmd.Process.Pid, kind)
}
