package versions

import (
	"maps"
	"slices"
)

// Entry is an entry of versions.yaml with its lock, for those who move it to another
// version.
type Entry struct {
	// Path is that of the entry in versions.yaml, and Declared that in the lock.
	Path, Declared string
	// Pin is the path of the pin that names its version, "" if versions.yaml lacks it.
	Pin, Version string
	// Series is the series of versions that the entry stays in, "" for any.
	Series string
	// With is the path of the entry that this one moves with, or "".
	With string
	// Signers are the fingerprints of the OpenPGP keys that sign upstream's files.
	Signers []string
	// Locked is the version that Pins and Sources are of: Version, or another if the lock
	// does not have it.
	Locked  string
	Pins    map[string]string
	Sources map[string][]Place
}

// Entries returns the entries that the lock has, sorted by path.
func (f *File) Entries() []Entry {
	var list []Entry
	for _, at := range slices.Sorted(maps.Keys(f.lock)) {
		e := f.lock[at]
		entry := Entry{Path: at, Declared: e.declared, Pin: at + "." + e.Pin, Series: e.Series, With: e.With, Signers: e.Signers}
		if entry.Version, _ = f.version(at, e); entry.Version == "" {
			entry.Pin = ""
		}
		entry.Locked = entry.Version
		if _, known := e.Versions[entry.Version]; !known {
			entry.Locked = e.newest()
		}
		entry.Pins, entry.Sources = e.Versions[entry.Locked].Pins, e.Versions[entry.Locked].Sources
		list = append(list, entry)
	}
	return list
}
