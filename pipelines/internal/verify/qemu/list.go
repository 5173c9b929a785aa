package qemu

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// devices is what a list of devices requires.
type devices struct {
	// devices are names of -device, objects of -object and machines of -machine,
	// in the order of the list.
	devices, objects, machines []string
}

// firmware is a file of a list of firmware.
type firmware struct {
	// name is that of the file. from is a path of the builder, or "source:" and
	// the folder of QEMU that it is compiled in.
	name, from string
}

// loaded says whether a machine with a kernel has the file in its memory from the
// start. Other files are for other guests, or for one device.
func (f firmware) loaded() bool {
	return slices.Contains([]string{"bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin", "s390-ccw.img", "slof.bin"}, f.name)
}

// parseDevices reads a list of devices, as assets/qemu/devices has one for each
// architecture. An error names file and line.
func parseDevices(file string, content []byte) (devices, error) {
	var d devices
	for _, line := range lines(content) {
		for _, word := range line.words[1:] {
			if err := d.add(word); err != nil {
				return d, fmt.Errorf("%s:%d: %w", file, line.number, err)
			}
		}
	}
	if len(d.machines) == 0 {
		return d, fmt.Errorf("%s: no machine:NAME, which the devices are plugged into", file)
	}
	return d, nil
}

// add appends a word of a list.
func (d *devices) add(word string) error {
	kind, name, found := strings.Cut(word, ":")
	to := &d.devices
	switch {
	case !found:
		name = word
	case kind == "object":
		to = &d.objects
	case kind == "machine":
		to = &d.machines
	default:
		return fmt.Errorf("%q: want a device, object:NAME or machine:NAME", word)
	}
	if name == "" || slices.Contains(*to, name) {
		return fmt.Errorf("%q has no name, or is a duplicate", word)
	}
	*to = append(*to, name)
	return nil
}

// parseFirmware reads a list of firmware, as assets/qemu/firmware has one for each
// architecture. An error names file and line.
func parseFirmware(file string, content []byte) ([]firmware, error) {
	var all []firmware
	for _, line := range lines(content) {
		words := line.words
		if len(words) != 2 || strings.Contains(words[0], "/") {
			return nil, fmt.Errorf("%s:%d: %q: want the name of a file and its origin", file, line.number, strings.Join(words, " "))
		}
		if slices.ContainsFunc(all, func(f firmware) bool { return f.name == words[0] }) {
			return nil, fmt.Errorf("%s:%d: duplicate %s", file, line.number, words[0])
		}
		all = append(all, firmware{name: words[0], from: words[1]})
	}
	return all, nil
}

// line is a line of a list.
type line struct {
	number int
	words  []string
}

// lines returns the lines that have words, without comments.
func lines(content []byte) (all []line) {
	number := 0
	for text := range strings.Lines(string(content)) {
		number++
		text, _, _ = strings.Cut(text, "#")
		if words := strings.Fields(text); len(words) > 0 {
			all = append(all, line{number, words})
		}
	}
	return all
}

// offer is a device that QEMU says it has.
type offer struct {
	// name is what -device takes, kind the heading above it in the list:
	// "Network".
	name, kind string
}

var deviceLine = regexp.MustCompile(`^name "([^"]+)"`)

// parseDeviceHelp reads what -device help prints.
func parseDeviceHelp(text string) []offer {
	var all []offer
	kind := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if heading, is := strings.CutSuffix(line, " devices:"); is {
			kind = heading
		} else if m := deviceLine.FindStringSubmatch(line); m != nil {
			all = append(all, offer{name: m[1], kind: kind})
		}
	}
	return all
}

// parseHelp reads what -object, -machine and -accel help print: the first word of
// each line below the heading.
func parseHelp(text string) []string {
	var names []string
	_, list, _ := strings.Cut(text, "\n")
	for line := range strings.Lines(list) {
		if words := strings.Fields(line); len(words) > 0 {
			names = append(names, words[0])
		}
	}
	return names
}

// plain are the kinds of devices that Kata gives to guests. Devices of other kinds,
// such as displays and old network cards, must be on the list.
var plain = []string{"Controller/Bridge/Hub", "CPU", "Misc", "Storage", "Uncategorized", "Watchdog", "Input"}

// unasked returns the devices that are not on the list, of kinds that widen the
// attack surface: network, display, sound, USB, and any unknown kind.
func unasked(offers []offer, required []string) []offer {
	var asked []string
	for _, name := range required {
		asked = append(asked, stem(name))
	}
	var all []offer
	for _, offered := range offers {
		if !slices.Contains(plain, offered.kind) && !slices.Contains(asked, stem(offered.name)) {
			all = append(all, offered)
		}
	}
	return all
}

// stem is the name of a device without that of its bus: virtio-net-pci, -ccw and
// -device are one device.
func stem(name string) string {
	for _, end := range []string{"-non-transitional", "-transitional", "-pci", "-ccw", "-device"} {
		name = strings.TrimSuffix(name, end)
	}
	return name
}
