package bump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Moved is what became of a pin.
type Moved struct {
	Pin  string `json:"pin"`
	From string `json:"from"`
	To   string `json:"to"`
	// Pins are the paths of the values that changed, in versions.yaml.
	Pins []string `json:"pins"`
	// Places are those of the new version, Left those that were left out.
	Places []Taken  `json:"places"`
	Left   []Silent `json:"left"`
	// Rule is what the comment above the pin says about bumps, Notes what a person should
	// look at.
	Rule  string   `json:"rule,omitempty"`
	Notes []string `json:"notes"`
	// Refused says why the pin did not move.
	Refused string `json:"refused,omitempty"`
}

// Taken is a place of the new version.
type Taken struct {
	Source string `json:"source"`
	Place  string `json:"place"`
	Hash   string `json:"hash"`
	// Checked names what the hash was checked against, "" for nothing.
	Checked string `json:"checked"`
}

// Bump moves the entries that a name selects, to a version, or each that is behind to the
// newest. It writes both files or none. With a name, a refusal is the error. Without, it is
// in the result of the entry and the others move; it is the error as well if a tag was
// moved or a file is not what upstream publishes. That no place answers is an error, too.
func (b *Bumper) Bump(ctx context.Context, name, to string) ([]Moved, error) {
	entries, err := b.Select(name)
	if err != nil {
		return nil, err
	}
	moved := []Moved{}
	var alarms []error
	before := b.contents()
	last := before
	for _, group := range groups(entries) {
		one, err := b.bump(ctx, group, to)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			one.Refused = err.Error()
			err = fmt.Errorf("bumping %s: %w", group[0].Path, err)
		}
		switch {
		case err != nil && name != "":
			return nil, err
		case fatal(ctx, err):
			alarms = append(alarms, err)
		}
		switch {
		case one.Refused != "" && one.Pin != "", b.contents() != last:
			moved, last = append(moved, one), b.contents()
		case to != "":
			b.Report.Note(group[0].Path, "it has the version "+one.To+" already")
		case name != "":
			b.Report.Note(group[0].Path, group[0].Version+" is the newest version that its places have")
		}
	}
	if name == "" && b.deaf() {
		alarms = append(alarms, errors.New("no place answered, so nothing is known of newer versions: look at `pipelines bump --check`"))
	}
	if before != b.contents() {
		err = b.write(before)
	}
	return moved, errors.Join(append(alarms, err)...)
}

// groups returns the entries that share a version of the lock, and so move together.
func groups(entries []versions.Entry) (all [][]versions.Entry) {
	for _, e := range entries {
		i := slices.IndexFunc(all, func(g []versions.Entry) bool { return g[0].Declared == e.Declared && g[0].Version == e.Version })
		if i < 0 {
			all = append(all, []versions.Entry{e})
		} else {
			all[i] = append(all[i], e)
		}
	}
	return all
}

// bump moves a group of entries in memory. A Moved without a pin is none.
func (b *Bumper) bump(ctx context.Context, group []versions.Entry, to string) (moved Moved, err error) {
	e, name := group[0], group[0].Path
	if len(group) > 1 {
		name = e.Declared
	}
	if e.With != "" {
		return moved, fmt.Errorf("it moves with %s: bump that", e.With)
	}
	if to == "" {
		s, err := b.status(ctx, e)
		switch {
		case err != nil:
			return moved, err
		case s.Behind:
		case s.Why != "":
			return moved, errors.New(s.Why)
		case s.Newest == "":
			return Moved{Pin: name, From: e.Version, To: e.Version}, refusal("no place lists its versions", s.Silent)
		default:
			for _, silent := range s.Silent {
				b.Report.Note(name, fmt.Sprintf("%s did not answer: %s", silent.where(), silent.Why))
			}
			return moved, nil
		}
		to = cmp.Or(s.Newest, s.Version)
	}
	moved = Moved{Pin: name, From: e.Version, To: to, Pins: []string{}, Places: []Taken{}, Left: []Silent{}, Notes: []string{}}
	m := &move{Bumper: b, entry: e}
	if m.from, m.to, err = direction(e.Locked, to); err != nil {
		return moved, err
	}
	moved.To = m.to.String()
	var block block
	if !b.has(e.Declared, moved.To) || e.Locked == moved.To {
		if block, err = m.block(ctx, &moved); err != nil {
			return moved, err
		}
	}
	return moved, b.edit(group, block, &moved)
}

// direction returns the version of the lock and the wanted one, which may be written
// without the v of the other.
func direction(locked, wanted string) (from, to version, err error) {
	to, ok := parse(wanted)
	if !ok {
		return from, to, fmt.Errorf("%q is not a version: it has no numbers at its end", wanted)
	}
	if from, ok = parse(locked); !ok {
		return from, to, fmt.Errorf("its version %q is a commit, so places of another version cannot be derived from its own: write them by hand", locked)
	}
	if to.before == "" {
		to = to.like(from)
	}
	if to.before != from.before {
		return from, to, fmt.Errorf("%q does not look like %q: write %s%s", wanted, locked, from.before, to.spelled(to.separator))
	}
	if to.compare(from) == 0 && to.String() != from.String() {
		return from, to, fmt.Errorf("%q is the version %q of the lock, written otherwise: write that", wanted, locked)
	}
	return from, to, nil
}

type block struct {
	pins map[string]string
	// places are by source, in the order of the old version; a place without a name was
	// left out.
	places map[string][]versions.Place
}

// block asks the places of the old version for the new one.
func (m *move) block(ctx context.Context, moved *Moved) (block, error) {
	block := block{places: map[string][]versions.Place{}}
	for _, name := range slices.Sorted(maps.Keys(m.entry.Sources)) {
		kept := 0
		for _, old := range m.entry.Sources[name] {
			d, err := m.place(ctx, name, old)
			if fatal(ctx, err) {
				return block, fmt.Errorf("source %s, place %q: %w", name, old.Name, err)
			}
			switch {
			case err == nil:
				m.taken(moved, name, old, &d)
			case m.from.compare(m.to) == 0:
				d.place = old // What is not known yet stays so.
			default:
				d.place = versions.Place{}
			}
			if err != nil {
				moved.Left = append(moved.Left, Silent{name, old.Name, err.Error()})
			}
			if d.place.Name != "" {
				kept++
			}
			block.places[name] = append(block.places[name], d.place)
		}
		if kept == 0 && len(m.entry.Sources[name]) > 0 {
			left := slices.DeleteFunc(slices.Clone(moved.Left), func(s Silent) bool { return s.Source != name })
			return block, refusal(fmt.Sprintf("no place has source %s of %s", name, m.to), left)
		}
	}
	shareChecks(block, moved)
	err := m.sameBytes(block)
	if err != nil {
		return block, err
	}
	if block.pins, err = m.pins(ctx, moved); err != nil {
		return block, err
	}
	if len(moved.Left) > 0 && len(moved.Places) == 0 && maps.Equal(block.pins, m.entry.Pins) {
		return block, refusal(fmt.Sprintf("nothing more of %s can be looked up", m.to), moved.Left)
	}
	return block, nil
}

// sameBytes refuses a version of which two places have other bytes that had the same bytes
// of the old version: one of the servers may be compromised.
func (m *move) sameBytes(block block) error {
	for name, places := range block.places {
		for i, a := range m.entry.Sources[name] {
			for j, b := range m.entry.Sources[name][:i] {
				same := a.SHA256 != "" && a.SHA256 == b.SHA256 && places[i].Name != "" && places[j].Name != ""
				if same && places[i].SHA256 != places[j].SHA256 {
					return fmt.Errorf("the places %q and %q of source %s had the same bytes of %s, but have different ones of %s, with sha256 %s and %s: find out which is right, and write the version by hand",
						b.Name, a.Name, name, m.from, m.to, places[j].SHA256, places[i].SHA256)
				}
			}
		}
	}
	return nil
}

// fatal reports whether an error ends the move: other places are no remedy for a moved tag,
// or for a file that differs from the hash or the signature that upstream publishes.
func fatal(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.As(err, new(*MovedTagError)) || errors.As(err, new(*source.Mismatch)) || errors.As(err, new(*SignatureError))
}

func refusal(what string, left []Silent) error {
	var why []error
	for _, silent := range left {
		why = append(why, fmt.Errorf("  %s: %s", silent.where(), silent.Why))
	}
	return fmt.Errorf("%s, so nothing was written:\n%w", what, errors.Join(why...))
}

// taken notes what is new about a place.
func (m *move) taken(moved *Moved, name string, old versions.Place, d *derived) {
	if old.Hash() != d.place.Hash() || m.from.compare(m.to) != 0 {
		d.place.Unchecked = d.checked == ""
		moved.Places = append(moved.Places, Taken{name, old.Name, d.place.Hash(), d.checked})
	}
}

// shareChecks marks the places whose hash one that was checked has, too.
func shareChecks(block block, moved *Moved) {
	for i, taken := range moved.Places {
		j := slices.IndexFunc(moved.Places, func(t Taken) bool { return t.Source == taken.Source && t.Hash == taken.Hash && t.Checked != "" })
		if taken.Checked != "" || j < 0 {
			continue
		}
		moved.Places[i].Checked = fmt.Sprintf("place %q, whose hash is the same", moved.Places[j].Place)
		for k, place := range block.places[taken.Source] {
			if place.Name == taken.Place {
				block.places[taken.Source][k].Unchecked = false
			}
		}
	}
}

// place returns a place of the new version. Of the same version it returns the place as it
// is, unless its commit or hash is not known, or Debian has another revision of the package
// now.
func (m *move) place(ctx context.Context, name string, old versions.Place) (derived, error) {
	switch {
	case m.from.compare(m.to) != 0, old.Git != nil && old.Git.Ref != "", old.URL != "" && old.SHA256 == "":
		return m.derive(ctx, name, old)
	case old.Debian != nil && m.Sources.Debian != nil:
		if _, err := m.Sources.Debian.Files(ctx, old.Debian.Package, old.Debian.Version, old.Debian.Suite); err != nil {
			if d, err := m.derive(ctx, name, old); err == nil {
				return d, nil
			}
		}
	case old.Git != nil:
		tags, err := m.tags(ctx, old.Git.URL)
		if today := tags[m.from.String()]; err == nil && today != "" && today != old.Git.Commit {
			return derived{}, &MovedTagError{m.from.String(), old.Git.URL, old.Git.Commit, today}
		}
	}
	return derived{place: old}, nil
}
