package bump

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
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

func (b *Bumper) load() error {
	if b.pins != nil {
		return nil
	}
	data, lockData, err := b.read()
	if err != nil {
		return err
	}
	b.lockData = lockData
	b.pins, err = versions.ParseLocked(versionsName, data, lockData)
	return err
}

func (b *Bumper) read() (pins, lock []byte, err error) {
	if pins, err = os.ReadFile(b.Path); err != nil {
		return nil, nil, fmt.Errorf("reading the pins: %w", err)
	}
	if lock, err = os.ReadFile(b.Lock); err != nil {
		return nil, nil, fmt.Errorf("reading their lock: %w", err)
	}
	return pins, lock, nil
}

// versionsName is the name of the file of pins in messages.
const versionsName = "versions.yaml"

func (b *Bumper) contents() string { return contents(b.pins.Data, b.lockData) }

func contents(pins, lock []byte) string { return string(pins) + "\x00" + string(lock) }

// write writes both files, or none: if the second fails, the first gets its content back.
// They must have the contents of before, or an editor or another bump would lose its change.
func (b *Bumper) write(before string) error {
	pins, lock, err := b.read()
	if err != nil {
		return err
	}
	if contents(pins, lock) != before {
		return fmt.Errorf("%s or %s has changed since it was read, so nothing was written: run the command again", b.Path, b.Lock)
	}
	if err := replace(b.Lock, b.lockData); err != nil {
		return err
	}
	if err := replace(b.Path, b.pins.Data); err != nil {
		return errors.Join(err, replace(b.Lock, lock))
	}
	return nil
}

// replace writes a file, or the one that a link points to, with the mode that it has.
func replace(path string, data []byte) error {
	target, err := filepath.EvalSymlinks(path)
	var info os.FileInfo
	if err == nil {
		info, err = os.Stat(target)
	}
	if err == nil {
		err = files.Write(target, data, info.Mode().Perm())
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// editLock turns the block of the old version into that of the new one, or adds it if the
// old one is still used.
func (b *Bumper) editLock(d *document, e versions.Entry, group []versions.Entry, block block, to string) error {
	entry := d.root.At(e.Declared).Node
	key, value := pair(entry, e.Locked)
	used := to != e.Locked && b.used(e, group)
	if series, _ := parse(to); !series.within(e.Series) {
		_, node := pair(entry, "series")
		if err := d.set(node, seriesOf(series, e.Series)); err != nil {
			return err
		}
	}
	if _, there := pair(entry, to); there != nil && to != e.Locked {
		if !used {
			d.remove(key, value)
		}
		return nil
	}
	if used {
		d.keep(key.Line, lastLine(value))
	}
	if err := d.set(key, to); err != nil {
		return err
	}
	for name, text := range block.pins {
		if _, pins := pair(value, "pins"); pins != nil {
			if err := d.setText(pins, name, text); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(block.places)) {
		_, list := pair(value, name)
		for i, place := range block.places[name] {
			if err := editPlace(d, list, list.Content[i], e.Sources[name][i], place); err != nil {
				return err
			}
		}
	}
	return nil
}

// seriesOf returns the series of a version, as long as another.
func seriesOf(v version, other string) string {
	o, _ := parse(other)
	v.numbers, v.pre = v.numbers[:min(len(v.numbers), len(o.numbers))], ""
	return v.String()
}

// used reports whether the old version stays in the lock: an entry outside the group has
// it, it is the one that Kata pins, whose file must stay usable, or it is only the pattern
// for a version that the lock did not have.
func (b *Bumper) used(e versions.Entry, group []versions.Entry) bool {
	kata := e.Version
	for _, d := range b.pins.Differences(e.Pin) {
		kata = d.Kata
	}
	return e.Locked != e.Version || e.Locked == kata || slices.ContainsFunc(b.pins.Entries(), func(other versions.Entry) bool {
		return other.Declared == e.Declared && other.Version == e.Locked &&
			!slices.ContainsFunc(group, func(g versions.Entry) bool { return g.Path == other.Path })
	})
}

// editPlace writes the fields of a place that differ; one without a name is removed.
func editPlace(d *document, list, item *yaml.Node, old, place versions.Place) error {
	if place.Name == "" {
		if list.Style&yaml.FlowStyle != 0 {
			return fmt.Errorf("line %d: an item cannot be removed from a list between brackets; write one item a line", list.Line)
		}
		d.remove(item, item)
		return nil
	}
	set := func(node *yaml.Node, name, from, to string) error {
		if from == to {
			return nil
		}
		return d.setField(node, name, to, strconv.Quote(to))
	}
	var errs []error
	if o, n := old.Debian, place.Debian; n != nil {
		_, node := pair(item, "debian")
		errs = append(errs, set(node, "version", o.Version, n.Version), set(node, "suite", o.Suite, n.Suite), set(node, "file", o.File, n.File))
	}
	if o, n := old.Git, place.Git; n != nil {
		_, node := pair(item, "git")
		if key, ref := pair(node, "ref"); ref != nil && n.Ref == "" {
			errs = append(errs, d.set(key, "commit"), d.set(ref, n.Commit))
		} else {
			errs = append(errs, set(node, "commit", o.Commit, n.Commit))
		}
	}
	if o, n := old.Go, place.Go; n != nil {
		_, node := pair(item, "go")
		errs = append(errs, set(node, "version", o.Version, n.Version), set(node, "sum", o.Sum, n.Sum))
	}
	if o, n := old.GoProxy, place.GoProxy; n != nil {
		_, node := pair(item, "goproxy")
		errs = append(errs, set(node, "version", o.Version, n.Version))
	}
	if o, n := old.Cargo, place.Cargo; n != nil {
		_, node := pair(item, "cargo")
		errs = append(errs, set(node, "version", o.Version, n.Version))
	}
	errs = append(errs, set(item, "url", old.URL, place.URL), set(item, "sha256", old.SHA256, place.SHA256))
	if old.Size != 0 && place.Size != old.Size {
		errs = append(errs, d.setField(item, "size", strconv.FormatInt(place.Size, 10), ""))
	}
	if old.Unchecked != place.Unchecked {
		errs = append(errs, d.setField(item, "unchecked", map[bool]string{true: "true"}[place.Unchecked], "true"))
	}
	return errors.Join(errs...)
}

func (d *document) setText(node *yaml.Node, name, value string) error {
	_, old := pair(node, name)
	if old == nil || old.Value == value {
		return nil
	}
	return d.set(old, value)
}
