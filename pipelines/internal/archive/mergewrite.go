package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
)

// chunk is how much of a component is copied at a time: it stays in the processor's
// cache until it is written.
const chunk = 256 << 10

// Write writes the merged tarball to the file out, which appears complete or not at
// all, even if others write it at the same time. A file that is the merged tarball
// already is left alone, and changed is false. The stage shows the bytes written. The
// tarball is not hashed: that would take twice as long as everything else.
func (m *Merged) Write(ctx context.Context, out string, stage *progress.Stage) (changed bool, err error) {
	if err := files.Sweep(out); err != nil {
		return false, fmt.Errorf("removing what a killed merge left: %w", err)
	}
	same, err := m.Same(ctx, out)
	if err != nil || same {
		return false, err
	}
	return true, m.writeFile(ctx, out, stage)
}

func (m *Merged) writeFile(ctx context.Context, out string, stage *progress.Stage) error {
	file, err := files.Create(out, 0o644)
	if err != nil {
		return fmt.Errorf("creating the tarball: %w", err)
	}
	defer file.Discard()
	to := &progressWriter{to: file.File, stage: stage, size: m.Size}
	if err := m.stream(ctx, to); err != nil {
		return err
	}
	if to.done != m.Size {
		return fmt.Errorf("wrote %d bytes of the tarball and planned %d", to.done, m.Size)
	}
	// Not fsynced: that would take longer than the merge. After a power cut the file
	// can have holes, which Same sees: it compares the bytes.
	if err := file.CommitUnsynced(); err != nil {
		return fmt.Errorf("finishing the tarball: %w", err)
	}
	return nil
}

type progressWriter struct {
	to         io.Writer
	stage      *progress.Stage
	done, size int64
}

func (w *progressWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.done += int64(n)
	w.stage.Bytes(w.done, w.size)
	return n, err
}

// Same tells whether the file out is the merged tarball already, so that nothing
// needs to be written. It compares every byte, unless the length differs.
func (m *Merged) Same(ctx context.Context, out string) (bool, error) {
	file, size, err := openFile(out)
	if err != nil {
		// Write replaces whatever is there, or says why it cannot.
		return false, nil //nolint:nilerr // as said
	}
	defer file.Close()
	if size != m.Size {
		return false, nil
	}
	err = m.stream(ctx, &comparer{with: file, buffer: make([]byte, chunk)})
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	return err == nil, err
}

var errDiffers = errors.New("the tarballs differ")

// comparer compares the chunks that are written to it with a file.
type comparer struct {
	with   io.Reader
	buffer []byte
}

// Write fails with errDiffers if the file does not go on with p, or cannot be read.
func (c *comparer) Write(p []byte) (int, error) {
	got := c.buffer[:len(p)]
	if _, err := io.ReadFull(c.with, got); err != nil || !bytes.Equal(p, got) {
		return 0, errDiffers
	}
	return len(p), nil
}

// stream sends the merged tarball to a writer.
func (m *Merged) stream(ctx context.Context, to io.Writer) error {
	buffer := make([]byte, chunk)
	if _, err := io.CopyBuffer(to, files.Reader(ctx, bytes.NewReader(m.head)), buffer); err != nil {
		return err
	}
	for _, part := range m.Parts {
		if err := part.stream(ctx, to, buffer); err != nil {
			return fmt.Errorf("component %q: %w", part.Name, err)
		}
	}
	_, err := io.CopyBuffer(to, files.Reader(ctx, bytes.NewReader(m.tail)), buffer)
	return err
}

// stream sends the frames that the merge copies from a part to a writer.
func (p *Part) stream(ctx context.Context, to io.Writer, buffer []byte) error {
	file, err := Open(p.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	if !reflect.DeepEqual(p.index, file.index) {
		return fmt.Errorf("%s has changed since the merge was planned", p.Path)
	}
	var frames []io.Reader
	for offset, f := range p.index.files() {
		frames = append(frames, io.NewSectionReader(file.file, offset, f.Size))
	}
	_, err = io.CopyBuffer(to, files.Reader(ctx, io.MultiReader(frames...)), buffer)
	return err
}

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
