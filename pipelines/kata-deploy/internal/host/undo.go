package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// undo is the inverse of a step: an exchange, a rename, a file with a content, or a file to
// remove.
type undo struct {
	exchange, from, to string
	restore, remove    string
	content            []byte
	mode               fs.FileMode
}

// keep remembers what is at a path.
func (in *Installation) keep(at string) error {
	info, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		in.undo = append(in.undo, undo{remove: at})
		return nil
	}
	if err != nil {
		return err
	}
	u := undo{restore: at, mode: info.Mode()}
	if info.Mode().Type() == fs.ModeSymlink {
		u.to, err = os.Readlink(at)
	} else {
		u.content, err = files.Read(at, maxSmall)
	}
	in.undo = append(in.undo, u)
	return err
}

// Back brings the node back to what it was.
func (in *Installation) Back() error {
	var failed []error
	for i := len(in.undo) - 1; i >= 0; i-- {
		failed = append(failed, in.undo[i].run())
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("going back to the former installation: %w: the next start goes on from there", err)
	}
	in.staged.discard()
	return in.host.save(in.plan.Tree, in.before)
}

func (u undo) run() error {
	switch {
	case u.exchange != "":
		return exchange(u.exchange, u.to)
	case u.from != "":
		return unix.Rename(u.from, u.to) // Unlike os.Rename it replaces an empty folder.
	case u.remove != "":
		return files.IgnoreMissing(os.Remove(u.remove))
	case u.mode.Type() == fs.ModeSymlink:
		return link(u.to, u.restore)
	}
	pending, err := files.CreateIn(staging(u.restore), u.restore, u.mode.Perm())
	if err != nil {
		return err
	}
	defer pending.Discard()
	if _, err := pending.Write(u.content); err != nil {
		return err
	}
	return pending.Commit()
}

// inverse is the inverse of a rename or an exchange.
func (u undo) inverse() undo { return undo{exchange: u.exchange, from: u.to, to: cmp.Or(u.from, u.to)} }

// exchange swaps two folders in one step, so that neither is ever missing.
func exchange(one, other string) error {
	return unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
}
