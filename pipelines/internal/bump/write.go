package bump

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

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

// write writes both files, or none: each is complete before the first gets its name, and a
// failure of the second takes the first back.
func (b *Bumper) write() error {
	before, err := os.ReadFile(b.Lock)
	if err != nil {
		return err
	}
	var pending []*files.Pending
	for path, data := range map[string][]byte{b.Path: b.pins.Data, b.Lock: b.lockData} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		p, err := files.Create(path, info.Mode().Perm())
		if err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		defer p.Discard()
		if _, err := p.Write(data); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		pending = append(pending, p)
	}
	slices.SortFunc(pending, func(x, y *files.Pending) int { return strings.Compare(x.Name(), y.Name()) })
	if err := pending[0].Commit(); err != nil {
		return err
	}
	if err := pending[1].Commit(); err != nil {
		return errors.Join(err, files.Write(b.Lock, before, 0o644))
	}
	return nil
}
