package main

import (
	"strings"

	"golang.org/x/sys/unix"
)

// cut is the line that the kernel writes above a warning or an oops.
const cut = "[ cut here ]"

// complaints returns the line after each cut in the kernel's log, a few at most.
func complaints() []string {
	const readAll, most = 3, 5
	buffer := make([]byte, 1<<20)
	n, err := unix.Klogctl(readAll, buffer)
	if err != nil {
		return []string{"the kernel's log: " + err.Error()}
	}
	lines := strings.Split(string(buffer[:n]), "\n")
	var found []string
	for i, line := range lines {
		if strings.Contains(line, cut) && i+1 < len(lines) && len(found) < most {
			found = append(found, lines[i+1])
		}
	}
	return found
}
