package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// state is what a running engine leaves for later commands, in engine.json.
type state struct {
	Supervisor process `json:"supervisor"`
	// Init is process 1 of the engine's namespaces.
	Init process `json:"init"`
	// Build is the folder of the programs that run.
	Build  string `json:"build"`
	Uplink uplink `json:"uplink"`
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

// alive says whether the process still runs.
func (p process) alive() bool {
	if p.PID == 0 {
		return false
	}
	began, err := startTime(p.PID)
	return err == nil && began == p.Began
}

func (m *Manager) dir() string        { return filepath.Join(m.CacheDir, "engine") }
func (m *Manager) statePath() string  { return filepath.Join(m.dir(), "engine.json") }
func (m *Manager) root() string       { return filepath.Join(m.dir(), "state") }
func (m *Manager) logPath() string    { return filepath.Join(m.dir(), "engine.log") }
func (m *Manager) socketPath() string { return filepath.Join(m.dir(), "engine.sock") }

// readState returns the zero state where no engine was started.
func readState(path string) (state, error) {
	var s state
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading the state of the engine (remove %s if it is damaged): %w", path, err)
	}
	return s, nil
}

func (s state) write(path string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
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

// answers says whether something accepts connections on a unix socket.
func answers(socket string) bool {
	// An engine that has ended refuses at once. One that is slow, or this process
	// on a machine with too much to do, must not be taken for it: its builds would
	// be ended with it.
	dialer := net.Dialer{Timeout: 30 * time.Second}
	conn, err := dialer.DialContext(context.Background(), "unix", socket)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
