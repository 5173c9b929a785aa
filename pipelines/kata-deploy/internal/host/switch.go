package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/components"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/plan"
)

// Installation is one that was switched to. Finish or Back end it.
type Installation struct {
	host   Host
	plan   plan.Plan
	before State
	// services are those that have yet to notice.
	services Services
	staged   *staged
	undo     []undo
}

// Switch writes the new content of a plan, and brings the node to it. After a failure the
// node is as it was.
func (h Host) Switch(ctx context.Context, p plan.Plan, payload *components.Payload, s State, d Diff) (*Installation, error) {
	in, err := h.prepare(ctx, p, payload, s, d)
	if err != nil {
		return nil, err
	}
	for _, s := range in.steps(d) {
		if err := in.do(s); err != nil {
			return nil, errors.Join(fmt.Errorf("switching to the new installation: %w", err), in.Back())
		}
	}
	return in, nil
}

// prepare writes into the state what comes next, and the new content into staging files. So
// whatever a kill leaves, the next run knows where.
func (h Host) prepare(ctx context.Context, p plan.Plan, payload *components.Payload, s State, d Diff) (*Installation, error) {
	if err := h.sweep(s); err != nil {
		return nil, err
	}
	in := &Installation{host: h, plan: p, before: s, services: d.Services}
	next := State{Schema: schema, Current: s.Current, Next: &p.Manifest, Earlier: slices.Clone(s.Earlier), Pending: d.Services}
	if s.Next != nil && !slices.ContainsFunc(s.Earlier, func(m plan.Manifest) bool { return reflect.DeepEqual(m, *s.Next) }) {
		next.Earlier = append(next.Earlier, *s.Next)
	}
	if err := h.save(p.Tree, next); err != nil {
		return nil, err
	}
	var err error
	in.staged, err = h.stage(ctx, p, payload, s, d)
	if err == nil && ctx.Err() != nil {
		in.staged.discard()
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, h.save(p.Tree, s))
	}
	return in, nil
}

// sweep removes the staging files that a killed process left.
func (h Host) sweep(s State) error {
	if s.Next == nil {
		return nil
	}
	folder, err := files.Beside(h.path(s.Next.Tree))
	if err == nil {
		err = errors.Join(os.Remove(folder.Name()), folder.Close())
	}
	for _, m := range s.manifests() {
		for _, e := range m.Outside {
			at := h.path(e.Path)
			err = errors.Join(err, files.Sweep(filepath.Join(staging(at), filepath.Base(at))), files.IgnoreMissing(os.Remove(temporary(at))))
		}
		for _, i := range m.Imports {
			at, failed := h.real(i.File)
			err = errors.Join(err, failed, files.Sweep(at))
		}
	}
	if err != nil {
		return fmt.Errorf("removing what a killed process left: %w", err)
	}
	return nil
}

// step is one change of a name: of a file outside, of imports or, without a Change, of the
// tree.
type step struct {
	Change
	imports bool
}

// steps are all changes of names in their order: what is no longer used goes before the
// tree changes, and what uses the tree comes after.
func (in *Installation) steps(d Diff) []step {
	var goes, comes []step
	add := func(changes []Change, imports bool) {
		for _, c := range changes {
			if c.Kind != Remove && in.wants(c.Path) {
				comes = append(comes, step{c, imports})
			} else {
				goes = append(goes, step{c, imports})
			}
		}
	}
	// Of what goes, the imports go first, and of what comes, they come last.
	add(d.Outside, false)
	outside := goes
	goes = nil
	add(d.Imports, true)
	goes = append(goes, outside...)
	if in.staged.tree != nil {
		goes = append(goes, step{})
	}
	return append(goes, comes...)
}

func (in *Installation) do(s step) error {
	switch {
	case s.Path == "":
		return in.tree()
	case s.imports:
		return in.edit(s.Change)
	}
	return in.outside(s.Change)
}

// wants reports whether the plan has a file outside, or imports of a file.
func (in *Installation) wants(at string) bool {
	for _, e := range in.plan.Outside {
		if e.Path == at {
			return true
		}
	}
	for _, i := range in.plan.Imports {
		if i.File == at {
			return true
		}
	}
	return false
}

func (in *Installation) tree() error {
	tree, fresh := in.host.path(in.plan.Tree), in.staged.tree.Name()
	step := undo{exchange: tree, to: fresh}
	switch {
	case !files.Exists(tree):
		step = undo{from: tree, to: fresh}
	case in.staged.empty:
		step = undo{from: fresh, to: tree}
	}
	if err := step.inverse().run(); err != nil {
		return fmt.Errorf("switching %s: %w: its file system must have renameat2, as ext4, xfs, btrfs and tmpfs have", tree, err)
	}
	in.undo = append(in.undo, step)
	return nil
}

// outside changes a file that is the installation's own.
func (in *Installation) outside(c Change) error {
	at := in.host.path(c.Path)
	if err := in.keep(at); err != nil {
		return err
	}
	if c.Kind == Remove {
		return removeWithFolders(at)
	}
	if pending := in.staged.pending[c.Path]; pending != nil {
		return pending.CommitUnsynced()
	}
	for _, e := range in.plan.Outside {
		if e.Path == c.Path {
			return link(e.Link, at)
		}
	}
	return nil
}

// link makes a link, in place of whatever is there.
func link(target, at string) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := errors.Join(files.IgnoreMissing(os.Remove(temporary(at))), os.Symlink(target, temporary(at))); err != nil {
		return err
	}
	return os.Rename(temporary(at), at)
}

// temporary is the name of a link until it is in its place.
func temporary(at string) string {
	return filepath.Join(filepath.Dir(at), "."+filepath.Base(at)+".new")
}

// removeWithFolders removes a file, and the folder of a unit's links that is empty then.
func removeWithFolders(at string) error {
	if err := files.IgnoreMissing(os.Remove(at)); err != nil {
		return err
	}
	if dir := filepath.Dir(at); filepath.Ext(dir) == ".wants" {
		_ = os.Remove(dir) // Others may have links there.
	}
	return nil
}

// edit changes a file of others.
func (in *Installation) edit(c Change) error {
	at, err := in.host.real(c.Path)
	if err != nil {
		return err
	}
	if err := in.keep(at); err != nil {
		return err
	}
	if c.Kind == Remove {
		return files.IgnoreMissing(os.Remove(at))
	}
	return in.staged.pending[c.Path].CommitUnsynced()
}

// Services are those that have yet to notice the switch.
func (in *Installation) Services() Services { return in.services }

// Undone are the services that have to notice that the node is back as it was. Those that
// the switch brought must stop: their units are gone.
func (in *Installation) Undone() Services {
	had := func(unit string) bool {
		return slices.ContainsFunc(in.before.manifests(), func(m plan.Manifest) bool {
			return slices.ContainsFunc(m.Services, func(s plan.Service) bool { return s.Own && s.Name == unit })
		})
	}
	undone := Services{Reload: true, Restart: in.services.Restart}
	for _, unit := range slices.Concat(in.services.Start, in.services.Stop) {
		if had(unit) {
			undone.Start = append(undone.Start, unit)
		} else {
			undone.Stop = append(undone.Stop, unit)
		}
	}
	return undone
}

// Finish makes the switch final, once the services have noticed it.
func (in *Installation) Finish() error {
	s := State{Schema: schema, Current: &in.plan.Manifest}
	if len(in.plan.Files) == 0 {
		s.Current = nil
	}
	in.staged.discard()
	return in.host.save(in.plan.Tree, s)
}
