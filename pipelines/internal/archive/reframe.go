package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// reframe writes a copy of another program's tarball, with frames and an index, to
// o.Cache, and returns its path. Owners, times and modes become those of Pack. The name
// of the copy says what it was made from, and a file next to it has its digest, so that
// it is made once; a copy that is damaged or another is made again.
func reframe(ctx context.Context, from, digest string, o Options) (to string, err error) {
	to = filepath.Join(o.Cache, "reframed", fmt.Sprintf("%.32s-%d-%d-%d.tar.zst", digest, indexFormat, o.Level, o.ModTime.Unix()))
	note := to + ".sha256"
	made, _ := files.Read(note, 2*sha256.Size) // Without it, no copy counts.
	if digest, err := o.verdicts().vet(ctx, to, ""); err == nil && digest == string(made) {
		return to, nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return "", fmt.Errorf("making the folder for copies with an index: %w", err)
	}
	file, _, err := openFile(from)
	if err != nil {
		return "", err
	}
	defer file.Close()
	summary, err := writeTarball(to, o, func(w *writer) error { return copyMembers(ctx, w, file) })
	if err == nil {
		err = files.Write(note, []byte(summary.SHA256), 0o644)
	}
	if err != nil {
		return "", fmt.Errorf("writing %s with an index: %w", from, err)
	}
	o.verdicts().keep(summary.SHA256)
	return to, nil
}

// copyMembers adds the members of a tarball: the directories, sorted and each once,
// and then the others as they come when it is read again.
func copyMembers(ctx context.Context, w *writer, from io.ReadSeeker) error {
	members, err := List(files.Reader(ctx, from))
	if err != nil {
		return err
	}
	directories := slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return !m.Mode.IsDir() })
	for i := range directories {
		directories[i] = normal(directories[i])
	}
	slices.SortFunc(directories, order)
	for _, m := range slices.Compact(directories) {
		if err := w.add(m, nil); err != nil {
			return err
		}
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	again, err := walk(files.Reader(ctx, from), maxUnpacked, func(m Member, content io.Reader) error {
		if m.Mode.IsDir() {
			return nil
		}
		return w.add(normal(m), content)
	})
	if err == nil && !slices.Equal(members, again) {
		err = errors.New("the members have changed: something is still writing to it")
	}
	return err
}
