package bump

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

func (b *Bumper) load() error {
	if b.pins != nil {
		return nil
	}
	data, lockData, err := b.read()
	if err != nil {
		return err
	}
	b.lockData = lockData
	b.pins, err = versions.ParseLocked(versionsName, data, lockData)
	return err
}

func (b *Bumper) read() (pins, lock []byte, err error) {
	if pins, err = os.ReadFile(b.Path); err != nil {
		return nil, nil, fmt.Errorf("reading the pins: %w", err)
	}
	if lock, err = os.ReadFile(b.Lock); err != nil {
		return nil, nil, fmt.Errorf("reading their lock: %w", err)
	}
	return pins, lock, nil
}

// versionsName is the name of the file of pins in messages.
const versionsName = "versions.yaml"

func (b *Bumper) contents() string { return contents(b.pins.Data, b.lockData) }

func contents(pins, lock []byte) string { return string(pins) + "\x00" + string(lock) }

// write writes both files, or none: if the second fails, the first gets its content back.
// They must have the contents of before, or an editor or another bump would lose its change.
func (b *Bumper) write(before string) error {
	pins, lock, err := b.read()
	if err != nil {
		return err
	}
	if contents(pins, lock) != before {
		return fmt.Errorf("%s or %s has changed since it was read, so nothing was written: run the command again", b.Path, b.Lock)
	}
	if err := replace(b.Lock, b.lockData); err != nil {
		return err
	}
	if err := replace(b.Path, b.pins.Data); err != nil {
		return errors.Join(err, replace(b.Lock, lock))
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
