package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// The names of folders that a process left at its end begin with these.
const (
	building = "building-"
	removing = "removing-"
)

// buildHash covers what the programs are compiled from. Other files of the
// nested module do not count: a new hash replaces the engine that runs.
func (m *Manager) buildHash() (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH, Version)
	err := filepath.WalkDir(m.ModuleDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !isSource(entry.Name()) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(m.ModuleDir, path)
		fmt.Fprintf(sum, "%s %x\n", filepath.ToSlash(relative), sha256.Sum256(data))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the engine's module: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

func isSource(name string) bool {
	return name == "go.mod" || name == "go.sum" || filepath.Ext(name) == ".go"
}

// removeBroken drops an incomplete folder of programs and what killed builds
// left; the caller has build.lock.
func (m *Manager) removeBroken(bin string) error {
	if err := m.remove(bin); err != nil {
		return err
	}
	for _, prefix := range []string{building, removing} {
		leftovers, err := filepath.Glob(filepath.Join(m.dir(), prefix+"*"))
		if err != nil {
			return err
		}
		for _, leftover := range leftovers {
			if err := os.RemoveAll(leftover); err != nil {
				return fmt.Errorf("removing the rest of a build that was killed: %w", err)
			}
		}
	}
	return nil
}

// removeOthers drops the programs of former versions; none of them runs.
func (m *Manager) removeOthers(keep string) error {
	others, err := filepath.Glob(filepath.Join(m.dir(), "bin-*"))
	if err != nil {
		return err
	}
	for _, other := range others {
		if other == keep {
			continue
		}
		if err := m.remove(other); err != nil {
			return err
		}
	}
	return nil
}

// remove renames first, so that nobody finds half of the programs.
func (m *Manager) remove(bin string) error {
	if _, err := os.Lstat(bin); os.IsNotExist(err) {
		return nil
	}
	gone, err := os.MkdirTemp(m.dir(), removing)
	if err == nil {
		err = os.Rename(bin, filepath.Join(gone, filepath.Base(bin)))
	}
	if err == nil {
		err = os.RemoveAll(gone)
	}
	if err != nil {
		return fmt.Errorf("removing old programs of the engine: %w", err)
	}
	return nil
}
