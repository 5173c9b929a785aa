package qemu

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// list is what an emulator must have: names by QEMU's option for them, -device,
// -object, -machine or -accel, in the order of the list of devices.
type list map[string][]string

// parseDevices reads a list of devices, as assets/qemu/devices has one for each
// architecture. An error names file and line.
func parseDevices(tree fs.FS, file string) (list, error) {
	lines, err := lines(tree, file)
	all := list{}
	for _, line := range lines {
		for _, word := range line.words[1:] {
			kind, name, found := strings.Cut(word, ":")
			if !found {
				kind, name = "device", word
			} else if kind != "object" && kind != "machine" {
				return nil, fmt.Errorf("%s: %q: want a device, object:NAME or machine:NAME", line.place, word)
			}
			if name == "" || slices.Contains(all["-"+kind], name) {
				return nil, fmt.Errorf("%s: %q has no name, or is a duplicate", line.place, word)
			}
			all["-"+kind] = append(all["-"+kind], name)
		}
	}
	if err == nil && len(all["-machine"]) == 0 {
		err = fmt.Errorf("%s: no machine:NAME, which the devices are plugged into", file)
	}
	return all, err
}

// parseFirmware returns the names of the files on a list of firmware, as
// assets/qemu/firmware has one for each architecture; the second word of a line is
// where the build gets the file. An error names file and line.
func parseFirmware(tree fs.FS, file string) (names []string, err error) {
	lines, err := lines(tree, file)
	for _, line := range lines {
		if len(line.words) != 2 || strings.Contains(line.words[0], "/") {
			return nil, fmt.Errorf("%s: %q: want the name of a file and its origin", line.place, strings.Join(line.words, " "))
		}
		if slices.Contains(names, line.words[0]) {
			return nil, fmt.Errorf("%s: duplicate %s", line.place, line.words[0])
		}
		names = append(names, line.words[0])
	}
	return names, err
}

// line has the words of a line of a list, and its place: "x86_64.list:7".
type line struct {
	place string
	words []string
}

// lines returns the lines of a list that have words, without comments.
func lines(tree fs.FS, file string) (all []line, err error) {
	content, err := fs.ReadFile(tree, file)
	for i, text := range strings.Split(string(content), "\n") {
		text, _, _ = strings.Cut(text, "#")
		if words := strings.Fields(text); len(words) > 0 {
			all = append(all, line{fmt.Sprintf("%s:%d", file, i+1), words})
		}
	}
	return all, err
}

// offer is a device that QEMU lists.
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
	return slices.DeleteFunc(slices.Clone(offers), func(o offer) bool {
		return slices.Contains(plain, o.kind) ||
			slices.ContainsFunc(required, func(name string) bool { return stem(name) == stem(o.name) })
	})
}

// stem is the name of a device without that of its bus: virtio-net-pci, -ccw and
// -device are one device.
func stem(name string) string {
	for _, end := range []string{"-non-transitional", "-transitional", "-pci", "-ccw", "-device"} {
		name = strings.TrimSuffix(name, end)
	}
	return name
}
