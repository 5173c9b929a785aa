package rootfs

import (
	"regexp"
	"strings"
	"sync"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/serial"
)

// console is what the console of a guest has said.
type console struct {
	// up is closed when systemd has reached the target and started the agent.
	up chan struct{}

	mu sync.Mutex
	told
}

// told are the lines that matter.
type told struct {
	// systemd says that it is the first process.
	systemd, target, unit bool
	// mounted says that systemd has mounted an extension.
	mounted bool
	// panic is the message of a kernel that stops, corrupt one of dm-verity, daxRefused one of
	// a filesystem that maps no files, and failed one of systemd about the agent.
	panic, corrupt, daxRefused, failed, last string
}

// soFar returns what was said so far.
func (c *console) soFar() told {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

func newConsole() *console { return &console{up: make(chan struct{})} }

// colours are the escape sequences of a terminal.
var colours = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

// What the console says.
var (
	reached = regexp.MustCompile(`Reached target kata-containers\.target`)
	started = regexp.MustCompile(`Started kata-agent\.service`)
	mounted = regexp.MustCompile(`Finished kata-extension-mount@`)
	broken  = regexp.MustCompile(`Failed to start kata-agent\.service`)
	corrupt = regexp.MustCompile(`device-mapper: verity: .* is corrupted`)
	noDAX   = regexp.MustCompile(`(?i)DAX (unsupported|not supported)|Turning off DAX`)
)

// line takes a line, and reports whether the boot is over.
func (c *console) line(text string) bool {
	text = strings.TrimSpace(colours.ReplaceAllString(text, ""))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = text
	if why, is := serial.Panic(text); is && c.panic == "" {
		c.panic = why
	}
	c.systemd = c.systemd || strings.Contains(text, "systemd[1]: ")
	wasUp := c.target && c.unit
	c.target = c.target || reached.MatchString(text)
	c.unit = c.unit || started.MatchString(text)
	c.mounted = c.mounted || mounted.MatchString(text)
	for where, pattern := range map[*string]*regexp.Regexp{&c.failed: broken, &c.corrupt: corrupt, &c.daxRefused: noDAX} {
		if *where == "" && pattern.MatchString(text) {
			*where = text
		}
	}
	if c.target && c.unit && !wasUp {
		close(c.up)
	}
	return c.panic != "" || c.failed != ""
}

// position says how far the guest got.
func (c told) position() string {
	switch {
	case c.panic != "":
		return "panic: " + c.panic
	case c.failed != "":
		return c.failed
	case c.last == "":
		return "nothing came over the console"
	case c.unit && !c.target:
		return "systemd started kata-agent.service, and did not reach kata-containers.target"
	}
	return "the last line of the console is " + c.last
}
