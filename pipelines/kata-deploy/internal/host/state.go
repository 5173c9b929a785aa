// Package host brings a node from what its manifest says to what a plan says, so that a
// kill at any moment leaves one or the other.
//
// The state, a file next to the tree, first gets the manifest that comes next, in addition
// to the present one. Then all new content is written next to its place, and reaches the
// disk. Only then names change: the tree by one exchange of two folders, every file outside
// by a rename; first what is no longer used, then the tree, then what uses it. Whatever
// happens in between, the state lists all files that are ours, and the next run goes on
// from there. A step that fails is undone, with those before it.
//
// What is in the tree and in no manifest belongs to somebody else, and stays.
package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/plan"
)

// Host is a node, as this program sees it.
type Host struct {
	// Root is the folder that all paths are below: "/".
	Root string
	// Mounts is the file of the mount namespace that the node's own programs run in, ""
	// for this program's.
	Mounts string
}

// path returns the path of a file that a plan names.
func (h Host) path(at string) string { return filepath.Join(h.Root, at) }

// Read returns the content of a small file of the node, nil if it does not exist.
func (h Host) Read(at string) ([]byte, error) {
	data, err := files.ReadNamed(h.path(at), maxSmall)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if target, err := os.Readlink(h.path(at)); err == nil {
		return nil, fmt.Errorf("%s is a link to %s, which is not visible in this container: replace it by a file", at, target)
	}
	return nil, nil
}

// Same reports whether two folders of the node are one, as they are if one is mounted. It is
// assumed of those behind a link, whose target this program may not see.
func (h Host) Same(one, other string) bool {
	first, err := os.Stat(h.path(one))
	second, failed := os.Stat(h.path(other))
	if err == nil && failed == nil {
		return os.SameFile(first, second)
	}
	for at := h.path(one); at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := os.Readlink(at); err == nil {
			return true
		}
	}
	return false
}

// Glob returns the files that a pattern names, sorted.
func (h Host) Glob(pattern string) []string {
	matches, _ := filepath.Glob(h.path(pattern))
	for i, match := range matches {
		rest, err := filepath.Rel(h.Root, match)
		if err == nil {
			matches[i] = "/" + rest
		}
	}
	slices.Sort(matches)
	return matches
}

const (
	// maxSmall bounds the files that are read into memory.
	maxSmall = 16 << 20
	// schema is the version of the state.
	schema = 1
)

// State is what is on the node.
type State struct {
	Schema int `json:"schema"`
	// Current is the installation that is there, nil for none.
	Current *plan.Manifest `json:"current,omitempty"`
	// Next is set while another takes its place: of each file, either is there. Earlier
	// are those whose turn was interrupted, of which files may be there, too.
	Next    *plan.Manifest  `json:"next,omitempty"`
	Earlier []plan.Manifest `json:"earlier,omitempty"`
	// Pending are the services that have yet to notice.
	Pending Services `json:"pending"`
}

// Services are what is to be done with units, in the order of the fields.
type Services struct {
	// Reload asks for systemd to read its units again.
	Reload bool `json:"reload,omitempty"`
	// Start are units of the installation to start again, Restart those of others, and
	// Stop are units that were removed.
	Start   []string `json:"start,omitempty"`
	Restart []string `json:"restart,omitempty"`
	Stop    []string `json:"stop,omitempty"`
}

// Empty reports whether nothing is to be done.
func (s Services) Empty() bool {
	return !s.Reload && len(s.Start)+len(s.Restart)+len(s.Stop) == 0
}

// join returns what both ask for. What is to be started is not to be stopped.
func (s Services) join(earlier Services) Services {
	both := func(a, b []string) []string {
		all := slices.Concat(a, b)
		slices.Sort(all)
		return slices.Compact(all)
	}
	started := func(unit string) bool { return slices.Contains(s.Start, unit) }
	stopped := func(unit string) bool { return slices.Contains(s.Stop, unit) }
	return Services{
		Reload: s.Reload || earlier.Reload, Restart: both(s.Restart, earlier.Restart),
		Start: both(s.Start, slices.DeleteFunc(slices.Clone(earlier.Start), stopped)),
		Stop:  both(s.Stop, slices.DeleteFunc(slices.Clone(earlier.Stop), started)),
	}
}

// StatePath returns the path of the state of the installation in a tree.
func StatePath(tree string) string { return tree + ".manifest.json" }

// State reads the state of the installation in a tree.
func (h Host) State(tree string) (State, error) {
	s := State{Schema: schema}
	data, err := h.Read(StatePath(tree))
	if err == nil && data != nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading the manifest %s: %w", StatePath(tree), err)
	}
	if s.Schema != schema {
		return s, fmt.Errorf("the manifest %s has version %d, and this program knows %d: use the image that installed it or a newer one", StatePath(tree), s.Schema, schema)
	}
	return s, nil
}

// save writes the state, or removes it if there is nothing to say.
func (h Host) save(tree string, s State) error {
	at := h.path(StatePath(tree))
	if s.Current == nil && s.Next == nil && s.Pending.Empty() {
		if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the manifest: %w", err)
		}
		return nil
	}
	data, err := json.MarshalIndent(s, "", " ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(at), 0o755)
	}
	if err == nil {
		err = files.Write(at, append(data, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return nil
}

// manifests returns those of the state, the one to come first.
func (s State) manifests() []plan.Manifest {
	var all []plan.Manifest
	if s.Next != nil {
		all = append(all, *s.Next)
	}
	all = append(all, s.Earlier...)
	if s.Current != nil {
		all = append(all, *s.Current)
	}
	return all
}

// Owner returns the DaemonSet of the installation that is there, "" for none.
func (s State) Owner() string {
	for _, m := range s.manifests() {
		if m.Owner != "" {
			return m.Owner
		}
	}
	return ""
}

// Installed reports whether anything is there.
func (s State) Installed() bool { return len(s.manifests()) > 0 }
