package release

import (
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// PinChange is a pin that two versions.yaml do not have in common.
type PinChange struct {
	// Path is that of the pin, "assets.kernel.version".
	Path string
	// Before and After are its values, "" where it is not there.
	Before, After string
}

// ComparePins returns the pins that differ, sorted by path.
func ComparePins(before, after *versions.File) []PinChange {
	paths := append(before.Pins(), after.Pins()...)
	slices.Sort(paths)
	var changes []PinChange
	for _, path := range slices.Compact(paths) {
		// A pin that is not there is the error, and its value is "".
		was, wasErr := before.Pin(path)
		is, isErr := after.Pin(path)
		if was != is || (wasErr == nil) != (isErr == nil) {
			changes = append(changes, PinChange{Path: path, Before: was, After: is})
		}
	}
	return changes
}
