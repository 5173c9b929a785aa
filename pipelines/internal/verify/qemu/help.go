package qemu

import (
	"regexp"
	"slices"
	"strings"
)

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
