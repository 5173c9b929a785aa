// Package serial is the protocol of a guest's init on the serial line: one line of
// text for each observation,
//
//	@kata-verify 5d41402a {"name":"kernel","value":"6.18.15 x86_64"}
//
// where the number is the CRC-32 of the JSON, which detects lines that the kernel
// wrote into. All other lines are the kernel's.
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
	Kernel      = "kernel"
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
	DAX         = "dax"
	Submounts   = "submounts"
	Taint       = "taint"
	Mount       = "mount "
)

// Names that both sides use.
const (
	// ShareTag is the tag of the folder that the guest mounts over 9p.
	ShareTag = "kata-verify"
	// PortName is the name of the virtio serial port that the guest writes to.
	PortName = "kata.verify"
	// FromHost and FromGuest are files on the disk and in the shared folder, and Mapped
	// is one in the shared folder that the guest maps and writes to.
	FromHost  = "from-host"
	FromGuest = "from-guest"
	Mapped    = "mapped"
	// Submount is a folder in the shared folder where the host has mounted something.
	Submount = "submount"
	// Brief is the parameter that limits the init to what a guest without most devices
	// can do, and BriefRestart also has it restart the machine instead of turning it off:
	// some machines know only that way to end.
	Brief        = "KATA_VERIFY=brief"
	BriefRestart = "KATA_VERIFY=restart"
)

// Observation is one observation of the init.
type Observation struct {
	// Name is one of the constants.
	Name string `json:"name"`
	// Value is the observed value.
	Value string `json:"value,omitempty"`
	// Items are several observed values.
	Items []string `json:"items,omitempty"`
	// Size and SHA256 (in hex) are those of a file.
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Error is why the thing is missing or does not work.
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

// Decode reads a line of the console. Ours is false for a line of the kernel. A
// damaged line of the protocol is an error.
func Decode(line string) (o Observation, ours bool, err error) {
	// The last line of the kernel may lack its end.
	_, text, found := strings.Cut(line, mark)
	if !found {
		return Observation{}, false, nil
	}
	sum, text, _ := strings.Cut(strings.TrimRight(text, "\r\n"), " ")
	if sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(text))) {
		return Observation{}, true, fmt.Errorf("a damaged line of the init: %.120q", line)
	}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return Observation{}, true, fmt.Errorf("reading a line of the init: %w", err)
	}
	return o, true, nil
}

// panics are the messages of a kernel that stops.
var panics = []string{"Kernel panic - not syncing", "Unable to mount root fs"}

// Panic reports whether a line of the console is the message of a kernel that stops.
func Panic(line string) (why string, is bool) {
	for _, text := range panics {
		if at := strings.Index(line, text); at >= 0 {
			return strings.TrimSpace(line[at:]), true
		}
	}
	return "", false
}
