package distro

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// Lock is the content of the lock of a root filesystem: every package that it has.
type Lock struct {
	Distribution string    `yaml:"distribution"`
	Release      string    `yaml:"release"`
	Packages     []Package `yaml:"packages"`
}

// Package is an installed package. Hash is that of the distribution's index, as its
// package manager writes it: "sha256:<hex>" for apt.
type Package struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	Hash    string `yaml:"hash"`
}

// LockFile returns the path of the lock of an asset.
func LockFile(folder, asset string, arch catalog.Arch) string {
	return path.Join(folder, "locks", asset+"-"+string(arch)+".yaml")
}

// ReadLock reads a lock of the tree; found is false if there is none.
func ReadLock(tree fs.FS, file string) (lock Lock, found bool, err error) {
	root, err := strictyaml.ReadFile(tree, file, &lock)
	if errors.Is(err, fs.ErrNotExist) {
		return lock, false, nil
	}
	if err != nil {
		return lock, false, err
	}
	for i, p := range lock.Packages {
		switch {
		case p.Name == "" || p.Version == "" || p.Hash == "":
			root.At("packages", i).Problem("a locked package needs a name, a version and a hash: run `pipelines rootfs lock`")
		case i > 0 && lock.Packages[i-1].Name >= p.Name:
			root.At("packages", i).Problem("%s comes after %s: locked packages are sorted, each once", p.Name, lock.Packages[i-1].Name)
		}
	}
	return lock, true, root.Err()
}

// Lacks returns the names that are not locked.
func (l Lock) Lacks(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		name, _, _ = strings.Cut(name, "=")
		return slices.ContainsFunc(l.Packages, func(p Package) bool { return p.Name == name })
	})
}

// Write returns the lock as a file, a package a line.
func (l Lock) Write() ([]byte, error) {
	var document yaml.Node
	if err := document.Encode(l); err != nil {
		return nil, fmt.Errorf("encoding the lock: %w", err)
	}
	for _, p := range document.Content[len(document.Content)-1].Content {
		p.Style = yaml.FlowStyle
	}
	out := bytes.NewBufferString("# All packages of this root filesystem. Written by `pipelines rootfs lock`.\n")
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	err := encoder.Encode(&document)
	return out.Bytes(), errors.Join(err, encoder.Close())
}
