package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// abandoned is the age at which a folder counts as left by a killed process: no
// build takes a day.
const abandoned = 24 * time.Hour

// sweep removes what killed processes left in the work folder.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("looking for leftovers: %w", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && time.Since(info.ModTime()) > abandoned {
			err = os.RemoveAll(filepath.Join(dir, entry.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing leftovers: %w", err)
		}
	}
	return nil
}

// scratch is a folder of one run that is made when it is first needed.
type scratch struct {
	parent string

	mu  sync.Mutex
	dir string
}

func (s *scratch) path() (dir string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != "" {
		return s.dir, nil
	}
	if err := os.MkdirAll(s.parent, 0o755); err != nil {
		return "", fmt.Errorf("making the scratch folder: %w", err)
	}
	if err := sweep(s.parent); err != nil {
		return "", err
	}
	if s.dir, err = os.MkdirTemp(s.parent, "dependencies-"); err != nil {
		return "", fmt.Errorf("making a scratch folder: %w", err)
	}
	return s.dir, nil
}

func (s *scratch) remove() error {
	if s.dir == "" {
		return nil
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("removing a scratch folder: %w", err)
	}
	return nil
}
