package collect

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// Use is the part of the disk that one kind of thing uses.
type Use struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Count is the number of entries, Size what they use on the disk, in bytes. Files with
	// several names count once.
	Count int   `json:"count"`
	Size  int64 `json:"size"`
	// Unnamed is the part of Size that no entry refers to, and that cache gc removes once it
	// is a day old.
	Unnamed int64 `json:"unnamed"`
	// Used is the time of the last use, nil if that is not known.
	Used *time.Time `json:"used"`
}

// engineFolders are what an embedded engine keeps.
var engineFolders = map[string]string{"state": "build cache", "bin": "programs"}

// Usage measures a cache. It changes nothing.
func Usage(ctx context.Context, cache string, local *store.Local) (uses []Use, err error) {
	items, err := local.Items(ctx)
	if err != nil {
		return nil, err
	}
	d := disk{seen: map[inode]bool{}}
	byName := map[string][]Thing{}
	for _, t := range OfItems(items, nil) {
		byName[t.Name] = append(byName[t.Name], t)
	}
	folders, err := filepath.Glob(filepath.Join(cache, "store", "[a-z0-9]*"))
	if err != nil {
		return nil, err
	}
	for _, folder := range folders {
		things := byName[filepath.Base(folder)]
		kind := string(store.KindArtifact)
		if len(things) > 0 {
			kind = things[0].Kind
		}
		uses = append(uses, d.entries(folder, kind, things))
	}
	files, err := InFiles(cache, time.Now())
	if err != nil {
		return nil, err
	}
	for i, p := range places {
		if i == 0 || places[i-1].kind != p.kind {
			uses = append(uses, d.files(p.kind, files))
		}
	}
	engine, err := filepath.Glob(filepath.Join(cache, "engine", "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range engine {
		base, _, _ := strings.Cut(filepath.Base(path), "-")
		if name := engineFolders[base]; name != "" {
			uses = append(uses, Use{Kind: "engine", Name: name, Count: 1, Size: d.size(path)})
		}
	}
	uses = append(uses, Use{Kind: "other", Name: "repositories, package lists, locks and logs", Count: 1, Size: d.size(cache)})
	uses = slices.DeleteFunc(uses, func(u Use) bool { return u.Count == 0 && u.Size == 0 })
	slices.SortStableFunc(uses, func(a, b Use) int { return cmp.Compare(b.Size, a.Size) })
	return uses, d.failed
}

// disk measures folders; what was measured before counts nothing.
type disk struct {
	seen   map[inode]bool
	failed error
}

type inode struct{ device, number uint64 }

// size returns what a file or a folder uses.
func (d *disk) size(path string) (size int64) {
	err := filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return files.IgnoreMissing(err)
		}
		info, err := entry.Info()
		if err != nil {
			return files.IgnoreMissing(err) // The engine and builds go on.
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			size += info.Size()
			return nil
		}
		// The fields have other types on other systems.
		id := inode{uint64(stat.Dev), stat.Ino} //nolint:unconvert
		if !d.seen[id] {
			size += stat.Blocks * 512
		}
		d.seen[id] = true
		return nil
	})
	d.failed = cmp.Or(d.failed, err)
	return size
}

// entries measures a layout.
func (d *disk) entries(folder, kind string, things []Thing) Use {
	use := Use{Kind: kind, Name: filepath.Base(folder), Count: len(things)}
	named := map[string]bool{}
	for _, t := range things {
		use.see(t)
		for blob := range unique(t.blobs) {
			named[blob.Encoded()] = true
		}
	}
	blobs := filepath.Join(folder, "blobs", "sha256")
	entries, err := os.ReadDir(blobs)
	d.failed = cmp.Or(d.failed, files.IgnoreMissing(err))
	for _, entry := range entries {
		size := d.size(filepath.Join(blobs, entry.Name()))
		if use.Size += size; !named[entry.Name()] {
			use.Unnamed += size
		}
	}
	use.Size += d.size(folder)
	return use
}

func (u *Use) see(t Thing) {
	if t.Used != nil && (u.Used == nil || t.Used.After(*u.Used)) {
		u.Used = t.Used
	}
}

// files measures the files of a kind together.
func (d *disk) files(kind string, things []Thing) (use Use) {
	use.Kind = kind
	for _, t := range things {
		if t.Kind == kind {
			use.Name = filepath.ToSlash(filepath.Dir(t.Name))
			use.Count++
			use.Size += d.size(t.path)
			use.see(t)
		}
	}
	return use
}
