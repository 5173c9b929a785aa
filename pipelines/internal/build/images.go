package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/guestimage"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// What the steps leave next to the filesystem of an image, by suffix of its path.
const (
	// hashTree is that of dm-verity, and hashParameters a line for guestimage.ParseVerity.
	hashTree, hashParameters = ".verity", ".verity.txt"
	// largestFolders lists the largest folders, for the error of an image over its budget.
	largestFolders = ".folders"
)

// images turns the filesystems that the steps left in dir into the images of the recipe.
func (b *run) images(ctx context.Context, dir string) error {
	for _, declared := range b.plan.Recipe.Output.Images {
		stage := b.stage("assemble")
		i := image{Image: declared, file: filepath.Join(dir, filepath.FromSlash(declared.Path)), budget: b.plan.Budgets[declared.Path]}
		detail, err := i.make(ctx)
		stage.End(err, detail)
		if err != nil {
			return fmt.Errorf("making the image %s: %w", declared.Path, err)
		}
	}
	return nil
}

// image is an image that is being made. File is its path.
type image struct {
	recipe.Image
	file   string
	budget int64
}

func (i image) make(ctx context.Context) (detail string, err error) {
	root, size, err := i.open("")
	if err != nil {
		return "", fmt.Errorf("reading the filesystem that a step left at $DESTDIR/%s: %w", i.Path, err)
	}
	defer root.Close()
	if err := i.check(root, size); err != nil {
		return "", err
	}
	var tree *os.File
	var treeSize int64
	if i.Measured {
		if tree, treeSize, err = i.open(hashTree); err != nil {
			return "", fmt.Errorf("reading its hash tree: %w", err)
		}
		defer tree.Close()
		if err := i.measure(ctx, root, tree, size, treeSize); err != nil {
			return "", err
		}
	}
	layout, err := guestimage.Plan(i.Filesystem, i.DAX, size, treeSize)
	if err != nil {
		return "", err
	}
	if err := i.write(ctx, layout, root, tree); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: %s of %s in %s", filepath.Base(i.Path), progress.Size(size), i.Filesystem, progress.Size(layout.Size)), i.finish()
}

// open opens what a step left at the path of the image with a suffix.
func (i image) open(suffix string) (*os.File, int64, error) {
	file, err := files.Open(i.file + suffix)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// check refuses a filesystem of another kind than the declared one or above the budget.
func (i image) check(root *os.File, size int64) error {
	if found := guestimage.Filesystem(root); found != i.Filesystem {
		return fmt.Errorf("the step left a filesystem of the kind %q: want %s", found, i.Filesystem)
	}
	if i.budget == 0 || size <= i.budget {
		return nil
	}
	largest, err := os.ReadFile(i.file + largestFolders)
	if errors.Is(err, fs.ErrNotExist) {
		largest, err = []byte("(the step left no list of them)"), nil
	}
	lines := strings.ReplaceAll(strings.TrimSpace(string(largest)), "\n", "\n  ")
	return errors.Join(fmt.Errorf("its filesystem has %s, more than its budget of %s: remove files, or raise the budget in assets.yaml; its largest folders are:\n  %s",
		progress.Size(size), progress.Size(i.budget), lines), err)
}

// measure checks the hash tree, and writes the file with the root hash.
func (i image) measure(ctx context.Context, root, tree *os.File, size, treeSize int64) error {
	text, err := os.ReadFile(i.file + hashParameters)
	if err != nil {
		return err
	}
	verity, err := guestimage.ParseVerity(string(text))
	if err == nil {
		err = verity.Covers(size)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(i.file)+hashParameters, err)
	}
	if err := verity.Check(files.Reader(ctx, root), files.Reader(ctx, tree), treeSize); err != nil {
		return fmt.Errorf("checking its hash tree: %w", err)
	}
	_, err = root.Seek(0, 0)
	if err == nil {
		_, err = tree.Seek(0, 0)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(filepath.Dir(i.file), guestimage.RootHashName(i.Variant)), []byte(verity.String()+"\n"), 0o644)
	}
	return err
}

// write writes the image, in place of the filesystem.
func (i image) write(ctx context.Context, layout guestimage.Layout, root, tree *os.File) error {
	out, err := files.Create(i.file, 0o644)
	if err != nil {
		return err
	}
	defer out.Discard()
	if err := layout.Write(out, files.Reader(ctx, root), files.Reader(ctx, tree)); err != nil {
		return err
	}
	return out.CommitUnsynced()
}

// finish makes the link to the image, and removes what only the making of it needed.
func (i image) finish() error {
	for _, suffix := range []string{hashTree, hashParameters, largestFolders} {
		if err := os.Remove(i.file + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Symlink(filepath.Base(i.file), filepath.Join(filepath.Dir(i.file), guestimage.LinkName(i.Variant)))
}
