// Package serial is what a guest's init and the program outside say to each
// other over the serial line: a line of text for everything the init saw,
//
//	@kata-verify 5d41402a {"name":"release","value":"6.18.15"}
//
// where the number is the CRC-32 of the JSON, so that a line that the kernel
// wrote into is recognised. Everything else on the line is the kernel's.
package serial

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"
)

// mark begins a line of the protocol.
const mark = "@kata-verify "

// The names of observations. Those of file systems are followed by the type.
const (
	Begin       = "begin"
	End         = "end"
	Release     = "release"
	Machine     = "machine"
	Processors  = "processors"
	Config      = "config"
	BTF         = "btf"
	Notes       = "notes"
	Drivers     = "virtio drivers"
	Devices     = "virtio devices"
	Disk        = "disk"
	Network     = "network"
	Entropy     = "entropy"
	Port        = "port"
	Vsock       = "vsock"
	Controllers = "controllers"
	DeviceRules = "device rules"
	Event       = "bpf event"
	Taint       = "taint"
	Mount       = "mount "
)

// What the two sides call the things that they share.
const (
	// ShareTag is the tag of the folder that the guest mounts over 9p.
	ShareTag = "kata-verify"
	// PortName is the name of the virtio serial port that the guest writes to.
	PortName = "kata.verify"
	// FromHost and FromGuest are files on the disk and in the shared folder.
	FromHost  = "from-host"
	FromGuest = "from-guest"
)

// Observation is one thing that the init saw.
type Observation struct {
	// Name is one of the constants.
	Name string `json:"name"`
	// Value is what it saw, for a person unless the name says otherwise.
	Value string `json:"value,omitempty"`
	// Items are what there are several of, sorted.
	Items []string `json:"items,omitempty"`
	// Size and SHA256 (in hex) are those of a file.
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Error says why the thing is not there or does not work.
	Error string `json:"error,omitempty"`
}

// Encode returns the line of an observation, without its end.
func Encode(o Observation) (string, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("encoding the observation %q: %w", o.Name, err)
	}
	return fmt.Sprintf("%s%08x %s", mark, crc32.ChecksumIEEE(text), text), nil
}

// Decode reads a line of the console. Ours is false for one that is not of the
// protocol; one that is, and is damaged, is an error.
func Decode(line string) (o Observation, ours bool, err error) {
	// The kernel may have left its own last line without an end.
	_, text, found := strings.Cut(line, mark)
	if !found {
		return Observation{}, false, nil
	}
	sum, text, _ := strings.Cut(strings.TrimRight(text, "\r\n"), " ")
	if sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text))) {
		return Observation{}, true, fmt.Errorf("a damaged line of the init: %q", shorten(line))
	}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return Observation{}, true, fmt.Errorf("reading a line of the init: %w", err)
	}
	return o, true, nil
}

// shorten keeps a message readable.
func shorten(line string) string {
	const limit = 120
	if len(line) > limit {
		return line[:limit] + "..."
	}
	return line
}

// panics are the texts after which a kernel does not go on.
var panics = []string{"Kernel panic - not syncing", "Unable to mount root fs"}

// Panic says whether a line of the console tells that the kernel has given up,
// and why.
func Panic(line string) (why string, is bool) {
	for _, text := range panics {
		if at := strings.Index(line, text); at >= 0 {
			return strings.TrimSpace(line[at:]), true
		}
	}
	return "", false
}
