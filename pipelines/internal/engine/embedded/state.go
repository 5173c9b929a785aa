//go:build linux

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// state describes a running engine for later commands, in engine.json.
type state struct {
	Supervisor process `json:"supervisor"`
	// Init is process 1 of the engine's namespaces.
	Init process `json:"init"`
	// Build is the folder of the programs that run.
	Build string `json:"build"`
}

// process is a process by its number and its start time in clock ticks since
// boot, so that another one with the same number is not taken for it.
type process struct {
	PID   int    `json:"pid"`
	Began string `json:"began"`
}

// identify describes a process that runs.
func identify(pid int) (process, error) {
	began, err := startTime(pid)
	if err != nil {
		return process{}, fmt.Errorf("reading the start time of process %d: %w", pid, err)
	}
	return process{PID: pid, Began: began}, nil
}

// alive reports whether the process still runs.
func (p process) alive() bool {
	if p.PID <= 1 {
		return false
	}
	began, err := startTime(p.PID)
	return err == nil && began == p.Began
}

// maxState bounds the size of engine.json.
const maxState = 64 << 10

// readState returns the zero state where no engine was started. Its processes are
// ended as root, so a file of another user is an error. It names nothing else
// that is taken down: the names of the uplink follow from the cache directory.
func readState(path string) (state, error) {
	data, err := files.Read(path, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	var s state
	if err == nil {
		err = errors.Join(owned(path), json.Unmarshal(data, &s))
	}
	if err != nil {
		return state{}, fmt.Errorf("reading the state of the engine (remove %s if it is damaged): %w", path, err)
	}
	return s, nil
}

// owned refuses a file of another user.
func owned(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d", stat.Uid)
	}
	return nil
}

func (s state) write(path string) error {
	data, err := json.Marshal(s)
	if err == nil {
		err = files.Write(path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing the state of the engine: %w", err)
	}
	return nil
}

// startTime is the 22nd field of /proc/<pid>/stat. A zombie counts as gone.
func startTime(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the name in parentheses and may hold spaces.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "", fs.ErrNotExist
	}
	return fields[19], nil
}

// answers reports whether something accepts connections on a unix socket. An
// engine that has ended refuses at once; a slow one, on a busy machine, must not
// be taken for it, because its builds would be ended.
func answers(socket string) bool {
	dialer := net.Dialer{Timeout: 30 * time.Second}
	conn, err := dialer.DialContext(context.Background(), "unix", socket)
	return err == nil && conn.Close() == nil
}
