package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
