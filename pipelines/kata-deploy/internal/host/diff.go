package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/cri"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/plan"
)

// Kinds of changes.
const (
	Add     = "add"
	Replace = "replace"
	Remove  = "remove"
)

// Change is one file that differs from the plan.
type Change struct {
	Kind string
	// Path is as this program sees it.
	Path string
	// Size is that of a new file, Detail a few words about anything else.
	Size   int64
	Detail string
}

// Diff is all that an installation changes.
type Diff struct {
	// Tree are the changes of the tree, Outside those of files outside, Imports those of
	// files of others. Each is sorted by path.
	Tree, Outside, Imports []Change
	Services
	// edits are the new contents of files of others, nil for one to remove.
	edits map[string][]byte
	// same are the files of the tree that stay.
	same map[string]bool
}

// Changes returns all changes.
func (d Diff) Changes() []Change { return slices.Concat(d.Tree, d.Outside, d.Imports) }

// Empty reports whether nothing changes.
func (d Diff) Empty() bool { return len(d.Tree)+len(d.Outside)+len(d.Imports) == 0 }

// Bytes is what the new files of the tree take.
func (d Diff) Bytes() (total int64) {
	for _, c := range d.Tree {
		total += c.Size
	}
	return total
}

// Diff compares a plan with the files of the node. It hashes those that have the right
// size, so it also finds what was damaged.
func (h Host) Diff(ctx context.Context, p plan.Plan, s State) (Diff, error) {
	d := Diff{same: map[string]bool{}, edits: map[string][]byte{}}
	former, formerOutside := map[string]bool{}, map[string]bool{}
	for _, m := range s.manifests() {
		for _, e := range m.Files {
			former[e.Path] = true
		}
		for _, e := range m.Outside {
			formerOutside[e.Path] = true
		}
	}
	var err error
	if d.Tree, err = h.compare(ctx, p.Tree, p.Files, former, d.same); err == nil {
		d.Outside, err = h.compare(ctx, "/", p.Outside, formerOutside, map[string]bool{})
	}
	if err == nil {
		err = h.imports(&d, p, s)
	}
	if err != nil {
		return Diff{}, fmt.Errorf("comparing the node with the plan: %w", err)
	}
	d.services(p, s)
	return d, nil
}

// compare compares entries with the files below a folder, and removes others that are
// listed.
func (h Host) compare(ctx context.Context, dir string, entries []plan.Entry, former, same map[string]bool) ([]Change, error) {
	var changes []Change
	wanted := map[string]bool{}
	for _, e := range entries {
		wanted[e.Path] = true
		at := path.Join(dir, e.Path)
		there, err := h.same(ctx, at, e)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			changes = append(changes, Change{Kind: Add, Path: at, Size: e.Size, Detail: linked(e)})
		case err != nil:
			return nil, err
		case !there:
			changes = append(changes, Change{Kind: Replace, Path: at, Size: e.Size, Detail: linked(e)})
		default:
			same[e.Path] = true
		}
	}
	for name := range former {
		if at := path.Join(dir, name); !wanted[name] && h.exists(at) {
			changes = append(changes, Change{Kind: Remove, Path: at})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return changes, nil
}

func linked(e plan.Entry) string {
	if e.Link == "" {
		return ""
	}
	return "link to " + e.Link
}

func (h Host) exists(at string) bool {
	_, err := os.Lstat(h.path(at))
	return err == nil
}

// same reports whether a file is what an entry says.
func (h Host) same(ctx context.Context, at string, e plan.Entry) (bool, error) {
	at = h.path(at)
	info, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) || isNotFolder(err) {
		return false, fs.ErrNotExist
	}
	if err != nil {
		return false, err
	}
	if e.Link != "" {
		if info.Mode().Type() != fs.ModeSymlink {
			return false, nil
		}
		target, err := os.Readlink(at)
		return target == e.Link, err
	}
	if !info.Mode().IsRegular() || info.Size() != e.Size || fmt.Sprintf("%04o", info.Mode().Perm()) != e.Mode {
		return false, nil
	}
	sum, _, err := files.Hash(ctx, at)
	return sum == e.SHA256, err
}

// imports adds the changes of files of others.
func (h Host) imports(d *Diff, p plan.Plan, s State) error {
	var all []plan.Import
	for _, m := range s.manifests() {
		for _, i := range m.Imports {
			if !slices.ContainsFunc(p.Imports, func(other plan.Import) bool { return other.File == i.File && other.Value == i.Value }) {
				all = append(all, i)
			}
		}
	}
	kept := len(all)
	all = append(all, p.Imports...)
	for n, i := range all {
		data, err := h.Read(i.File)
		if earlier, found := d.edits[i.File]; found {
			data = earlier
		}
		if err != nil {
			return err
		}
		change := Change{Kind: Replace, Path: i.File, Detail: "imports " + i.Value}
		var edited []byte
		switch {
		case n < kept && data == nil:
			continue
		case n < kept:
			change.Detail = "no longer " + change.Detail
			if edited, err = cri.RemoveImport(data, i.Value); string(edited) == i.Empty && i.Empty != "" {
				change.Kind, edited = Remove, nil
			}
		default:
			if data == nil {
				change.Kind, data = Add, []byte(i.Empty)
			}
			edited, err = cri.AddImport(data, i.Value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", i.File, err)
		}
		if change.Kind == Replace && string(edited) == string(data) {
			continue
		}
		d.edits[i.File] = edited
		d.Imports = append(d.Imports, change)
	}
	return nil
}

// services decides which services have to notice the changes.
func (d *Diff) services(p plan.Plan, s State) {
	changed := map[string]bool{}
	for _, c := range d.Changes() {
		changed[c.Path] = true
	}
	touched := func(service plan.Service) bool {
		return slices.ContainsFunc(service.Files, func(file string) bool { return changed[file] })
	}
	for _, service := range p.Services {
		if touched(service) {
			d.add(service)
		}
	}
	for _, m := range s.manifests() {
		for _, service := range m.Services {
			wanted := slices.ContainsFunc(p.Services, func(other plan.Service) bool { return other.Name == service.Name })
			switch {
			case service.Own && !wanted:
				d.Reload, d.Stop = true, append(d.Stop, service.Name)
			case !service.Own && touched(service):
				d.add(service)
			}
		}
	}
	d.Services = d.join(s.Pending)
}

func (d *Diff) add(service plan.Service) {
	if service.Own {
		d.Reload, d.Start = true, append(d.Start, service.Name)
	} else {
		d.Restart = append(d.Restart, service.Name)
	}
}
