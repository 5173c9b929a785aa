// Package emulator knows what an emulator that is built for Kata must have: the
// lists of its family, what QEMU prints about itself, and how each device is
// tried.
package emulator

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Devices is what a list of devices requires.
type Devices struct {
	// Devices are names of -device, Objects of -object and Machines of -machine,
	// in the order of the list.
	Devices, Objects, Machines []string
}

// Firmware is a file of a list of firmware.
type Firmware struct {
	// Name is that of the file. From is a path of the builder, or "source:" and
	// the folder of QEMU that it is compiled in.
	Name, From string
}

// Loaded says whether a machine that is given a kernel has the file in its memory
// from the start. Other files are for other guests, or for one device.
func (f Firmware) Loaded() bool {
	return slices.Contains([]string{"bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin", "s390-ccw.img", "slof.bin"}, f.Name)
}

// ParseDevices reads a list of devices, as assets/qemu/devices has one for each
// architecture. An error names file and line.
func ParseDevices(file string, content []byte) (Devices, error) {
	var d Devices
	err := lines(file, content, func(words []string) error {
		for _, word := range words[1:] {
			kind, name, found := strings.Cut(word, ":")
			to := &d.Devices
			switch {
			case !found:
				name = word
			case kind == "object":
				to = &d.Objects
			case kind == "machine":
				to = &d.Machines
			default:
				return fmt.Errorf("%q: want a device, object:NAME or machine:NAME", word)
			}
			if name == "" || slices.Contains(*to, name) {
				return fmt.Errorf("%q has no name, or stands twice", word)
			}
			*to = append(*to, name)
		}
		return nil
	})
	if err == nil && len(d.Machines) == 0 {
		err = fmt.Errorf("%s: no machine:NAME: say what the devices are plugged into", file)
	}
	return d, err
}

// ParseFirmware reads a list of firmware, as assets/qemu/firmware has one for each
// architecture. An error names file and line.
func ParseFirmware(file string, content []byte) ([]Firmware, error) {
	var all []Firmware
	err := lines(file, content, func(words []string) error {
		if len(words) != 2 || strings.Contains(words[0], "/") {
			return fmt.Errorf("%q: want the name of a file, and where it is from", strings.Join(words, " "))
		}
		if slices.ContainsFunc(all, func(f Firmware) bool { return f.Name == words[0] }) {
			return fmt.Errorf("%s stands twice", words[0])
		}
		all = append(all, Firmware{Name: words[0], From: words[1]})
		return nil
	})
	return all, err
}

// lines calls each with the words of a line that has some, without comments.
func lines(file string, content []byte, each func(words []string) error) error {
	scanner := bufio.NewScanner(bytes.NewReader(content))
	for n := 1; scanner.Scan(); n++ {
		text, _, _ := strings.Cut(scanner.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if err := each(words); err != nil {
			return fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}
