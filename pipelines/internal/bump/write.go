package bump

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// load reads both files once.
func (b *Bumper) load() error {
	if b.pins != nil {
		return nil
	}
	data, err := os.ReadFile(b.Path)
	if err != nil {
		return fmt.Errorf("reading the pins: %w", err)
	}
	if b.lockData, err = os.ReadFile(b.Lock); err != nil {
		return fmt.Errorf("reading their lock: %w", err)
	}
	b.pins, err = versions.ParseLocked(versionsName, data, b.lockData)
	return err
}

// versionsName is the name of the file of pins in messages.
const versionsName = "versions.yaml"

// contents are both files.
func (b *Bumper) contents() string { return string(b.pins.Data) + "\x00" + string(b.lockData) }

// write writes both files, or none: if the second fails, the first gets its content back.
func (b *Bumper) write() error {
	before, err := os.ReadFile(b.Lock)
	if err != nil {
		return fmt.Errorf("reading the lock: %w", err)
	}
	if err := replace(b.Lock, b.lockData); err != nil {
		return err
	}
	if err := replace(b.Path, b.pins.Data); err != nil {
		return errors.Join(err, replace(b.Lock, before))
	}
	return nil
}

// replace writes a file, or the one that a link points to, with the mode that it has.
func replace(path string, data []byte) error {
	target, err := filepath.EvalSymlinks(path)
	var info os.FileInfo
	if err == nil {
		info, err = os.Stat(target)
	}
	if err == nil {
		err = files.Write(target, data, info.Mode().Perm())
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
