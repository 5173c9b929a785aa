// Package plan computes what an installation consists of: all files, with where their
// content comes from, the imports that other files need, and the services that use them.
// It reads the payload and the values that it is given, and changes nothing.
//
// An installation is one value. Install, upgrade and removal are all the same step, from
// what the manifest on the node says to what a plan says: see package host.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
)

// HostDir is where this program sees the root of the node.
const HostDir = "/host"

// Entry is a file or a link of an installation. Its path is below the tree, or, of one
// outside, as this program sees it.
type Entry struct {
	Path   string `json:"path"`
	Mode   string `json:"mode,omitempty"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"`
}

// Import is an entry in the imports of a file of others.
type Import struct {
	File  string `json:"file"`
	Value string `json:"value"`
	// Empty is the content that the file gets if it does not exist.
	Empty string `json:"empty,omitempty"`
}

// Service is a unit that uses files of the installation.
type Service struct {
	Name string `json:"name"`
	// Own is true for a service that belongs to the installation. Others are only
	// restarted.
	Own bool `json:"own,omitempty"`
	// Files are those that it reads when it starts, as this program sees them.
	Files []string `json:"files"`
}

// Manifest is what is on the node, or is to be.
type Manifest struct {
	// Owner is the DaemonSet of the installation, NAMESPACE/NAME.
	Owner string `json:"owner,omitempty"`
	// Tree is the folder of the installation, as this program sees it.
	Tree     string    `json:"tree"`
	Files    []Entry   `json:"files,omitempty"`
	Outside  []Entry   `json:"outside,omitempty"`
	Imports  []Import  `json:"imports,omitempty"`
	Services []Service `json:"services,omitempty"`
}

// Source says where the content of a file is: in a component, or here.
type Source struct {
	Component string
	Content   []byte
}

// Plan is a Manifest with the contents of its files, by their paths.
type Plan struct {
	Manifest
	Sources map[string]Source
}

// Empty is the plan of an installation that is to be removed.
func Empty(tree string) Plan { return Plan{Manifest: Manifest{Tree: tree}} }

// Tree returns the folder of an installation, as this program sees it.
func Tree(dir string) string { return HostDir + dir }

// entry describes content.
func entry(at, mode string, content []byte) Entry {
	sum := sha256.Sum256(content)
	return Entry{Path: at, Mode: mode, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

// inTree adds a file of the tree, in place of one that a component has there.
func (p *Plan) inTree(at string, content []byte, executable bool) {
	mode := "0644"
	if executable {
		mode = "0755"
	}
	p.Files = slices.DeleteFunc(p.Files, func(e Entry) bool { return e.Path == at })
	p.Files = append(p.Files, entry(at, mode, content))
	p.Sources[at] = Source{Content: content}
}

// outside adds a file outside of the tree.
func (p *Plan) outside(at string, content []byte) {
	p.Outside = append(p.Outside, entry(at, "0644", content))
	p.Sources[at] = Source{Content: content}
}

// sort puts all lists into the order of their paths.
func (p *Plan) sort() {
	for _, entries := range [][]Entry{p.Files, p.Outside} {
		slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	}
}

// check refuses a plan whose tree has a file where a folder must be.
func (p *Plan) check() error {
	at := map[string]bool{}
	for _, e := range p.Files {
		at[e.Path] = true
	}
	for _, e := range p.Files {
		for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
			if at[dir] {
				return fmt.Errorf("the payload has a file %s where the folder of %s must be", dir, e.Path)
			}
		}
	}
	return nil
}
