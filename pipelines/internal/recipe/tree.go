package recipe

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

// Tree is the working tree as recipes read it. Every file and every folder is read once,
// so the keys of a run, its builds and its comparison with a commit use the same bytes
// even if the tree is edited in the meantime. It is safe for concurrent use.
type Tree struct {
	root    fs.FS
	infos   memo[fs.FileInfo]
	folders memo[[]fs.DirEntry]
	files   memo[Content]
}

// memo keeps the first answer for each name, which may be an error.
type memo[T any] struct{ answers sync.Map }

func (m *memo[T]) get(name string, ask func() (T, error)) (T, error) {
	answer, _ := m.answers.LoadOrStore(name, sync.OnceValues(ask))
	return answer.(func() (T, error))()
}

// Content is a declared file with its bytes.
type Content struct {
	File
	Data []byte
}

// NewTree returns a tree over the root of the repository.
func NewTree(root fs.FS) *Tree { return &Tree{root: root} }

// Open makes a Tree an fs.FS; it reads the file as it is now.
func (t *Tree) Open(name string) (fs.File, error) { return t.root.Open(name) }

// Stat describes a file or a folder as of the first call.
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	return t.infos.get(name, func() (fs.FileInfo, error) { return fs.Stat(t.root, name) })
}

// ReadDir returns the entries of a folder as of its first reading.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	return t.folders.get(name, func() ([]fs.DirEntry, error) { return fs.ReadDir(t.root, name) })
}

// ReadFile returns the bytes of a file as of its first reading.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	content, err := t.Content(name)
	return content.Data, err
}

// Content returns a regular file as of its first reading.
func (t *Tree) Content(name string) (Content, error) {
	return t.files.get(name, func() (Content, error) {
		info, err := t.Stat(name)
		if err != nil {
			return Content{}, err
		}
		if !info.Mode().IsRegular() {
			return Content{}, fmt.Errorf("%s: not a regular file", name)
		}
		data, err := fs.ReadFile(t.root, name)
		if err != nil {
			return Content{}, err
		}
		return NewContent(name, data), nil
	})
}

// NewContent describes a file by its bytes. Scripts and ELF files get the mode 0755, others
// 0644. The modes of the working tree do not count: some file systems have none, and git
// ignores them with core.fileMode=false.
func NewContent(name string, data []byte) Content {
	mode := "0644"
	if bytes.HasPrefix(data, []byte("#!")) || bytes.HasPrefix(data, []byte("\x7fELF")) {
		mode = "0755"
	}
	return Content{File: File{Path: name, Mode: mode, SHA256: hexSHA256(data)}, Data: data}
}

// Below returns the regular files at or below each of the names, each once and
// sorted by path.
func (t *Tree) Below(names ...string) ([]Content, error) {
	var contents []Content
	for _, name := range names {
		err := fs.WalkDir(t, name, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := t.Content(path.Clean(file))
			contents = append(contents, content)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return sorted(contents), nil
}

// sorted sorts by path and drops duplicates.
func sorted(contents []Content) []Content {
	slices.SortStableFunc(contents, func(a, b Content) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(contents, func(a, b Content) bool { return a.Path == b.Path })
}
