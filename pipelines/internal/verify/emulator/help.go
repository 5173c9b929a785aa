package emulator

import (
	"regexp"
	"slices"
	"strings"
)

// Offer is a device that QEMU says it has.
type Offer struct {
	// Name is what -device takes, Kind the heading that it stands below:
	// "Network".
	Name, Kind string
}

var deviceLine = regexp.MustCompile(`^name "([^"]+)"`)

// ParseDeviceHelp reads what -device help prints.
func ParseDeviceHelp(text string) []Offer {
	var all []Offer
	kind := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if heading, is := strings.CutSuffix(line, " devices:"); is {
			kind = heading
		} else if m := deviceLine.FindStringSubmatch(line); m != nil {
			all = append(all, Offer{Name: m[1], Kind: kind})
		}
	}
	return all
}

// ParseHelp reads what -object, -machine and -accel help print: the first word of
// each line below the heading.
func ParseHelp(text string) []string {
	var names []string
	_, list, _ := strings.Cut(text, "\n")
	for line := range strings.Lines(list) {
		if words := strings.Fields(line); len(words) > 0 {
			names = append(names, words[0])
		}
	}
	return names
}

// plain are the kinds of devices that Kata gives to guests; of others, such as
// displays and network cards of the past, none may be there unasked.
var plain = []string{"Controller/Bridge/Hub", "CPU", "Misc", "Storage", "Uncategorized", "Watchdog", "Input"}

// Unasked returns the devices of kinds that attack guests and hosts, network,
// display, sound, USB, and any unheard of, that are none of those required.
func Unasked(offers []Offer, required []string) []Offer {
	var asked []string
	for _, name := range required {
		asked = append(asked, stem(name))
	}
	var all []Offer
	for _, offer := range offers {
		if !slices.Contains(plain, offer.Kind) && !slices.Contains(asked, stem(offer.Name)) {
			all = append(all, offer)
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
