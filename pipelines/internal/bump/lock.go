package bump

import (
	"errors"
	"maps"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

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
		return d.removeItem(list, item)
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
