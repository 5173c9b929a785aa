package bump

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

func (b *Bumper) has(declared, version string) bool {
	d, err := openDocument(versions.LockFile, b.lockData)
	if err != nil {
		return false
	}
	_, found := pair(d.root.At(declared).Node, version)
	return found != nil
}

// edit writes a move into both files, in memory, and reads them again.
func (b *Bumper) edit(group []versions.Entry, found block, moved *Moved) error {
	group = append(slices.Clone(group), b.following(group[0])...)
	pins, err := openDocument(versionsName, b.pins.Data)
	if err != nil {
		return err
	}
	for _, e := range group {
		if err := editPins(pins, e, moved); err != nil {
			return fmt.Errorf("%s: %w", versionsName, err)
		}
	}
	lock, err := openDocument(versions.LockFile, b.lockData)
	if err != nil {
		return err
	}
	for i, e := range group {
		if i > 0 && e.Declared == group[0].Declared {
			continue
		}
		var part block // An entry that follows another has no sources of its own.
		if e.Declared == group[0].Declared {
			part = found
		}
		if err := b.editLock(lock, e, group, part, moved.To); err != nil {
			return fmt.Errorf("%s: %w", versions.LockFile, err)
		}
	}
	moved.Notes = append(moved.Notes, slices.Concat(pins.stale(moved.From), lock.stale(moved.From))...)
	return b.reread(pins.bytes(), lock.bytes(), group[0], found, moved.To)
}

// following returns the entries that move with another.
func (b *Bumper) following(e versions.Entry) (list []versions.Entry) {
	for _, other := range b.pins.Entries() {
		if other.With == e.Path && other.Version == e.Version {
			list = append(list, other)
		}
	}
	return list
}

// reread reads the edited files, and holds what the lock says against what was to be
// written.
func (b *Bumper) reread(data, lockData []byte, e versions.Entry, block block, to string) error {
	read, err := versions.ParseLocked(versionsName, data, lockData)
	if err != nil {
		return fmt.Errorf("the edited files cannot be read, so nothing was written: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(block.places)) {
		want := slices.DeleteFunc(slices.Clone(block.places[name]), func(p versions.Place) bool { return p.Name == "" })
		got, err := read.Source(e.Path + "." + name)
		same := slices.EqualFunc(got.Places, want, func(a, b versions.Place) bool {
			return a.Holds() == b.Holds() && a.Hash() == b.Hash() && a.Name == b.Name
		})
		if err != nil || !same {
			return errors.Join(fmt.Errorf("the edited lock of %s has other places of source %s than were found for %s, so nothing was written", e.Path, name, to), err)
		}
	}
	b.pins, b.lockData = read, lockData
	return nil
}
