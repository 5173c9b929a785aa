package nydus

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/nydus/containerd"
)

// killed kills each instance, restarts it, and expects its snapshots.
func (r *serving) killed(ctx context.Context) (string, error) {
	return r.outlived(ctx, func(i instance) error { return r.daemons[i.name].Kill() })
}

// stopped stops each instance as systemd does, and expects an unchanged data
// directory, and the snapshots once it runs again.
func (r *serving) stopped(ctx context.Context) (string, error) {
	// Removed snapshots leave data behind, which must go before the comparison.
	if err := r.server.Collect(ctx); err != nil {
		return "", err
	}
	return r.outlived(ctx, func(i instance) error {
		before, err := contents(r.data(i))
		stopped := r.daemons[i.name].Stop(r.Timeout)
		after, againErr := contents(r.data(i))
		return cmp.Or(err, stopped, againErr, lost(i, before, after))
	})
}

// outlived ends each instance, restarts it, and checks that containerd lists the
// same snapshots and makes new ones.
func (r *serving) outlived(ctx context.Context, end func(instance) error) (string, error) {
	var saw []string
	for _, i := range instances {
		before, err := r.server.Snapshots(ctx, i.name)
		if err != nil {
			return "", err
		}
		if !slices.Contains(before, parentKey) || !slices.Contains(before, childKey) {
			return "", fmt.Errorf("%s has the snapshots %q: want %s and %s", i.name, before, parentKey, childKey)
		}
		if err := end(i); err != nil {
			return "", err
		}
		if err := r.launch(ctx, i); err != nil {
			return "", fmt.Errorf("starting it again: %w", err)
		}
		if err := r.again(ctx, i); err != nil {
			return "", fmt.Errorf("after %s was started again: %w", i.name, err)
		}
		after, err := r.server.Snapshots(ctx, i.name)
		if err != nil {
			return "", err
		}
		if !slices.Equal(before, after) {
			return "", fmt.Errorf("%s has the snapshots %q after it was started again: want %q", i.name, after, before)
		}
		saw = append(saw, fmt.Sprintf("%s has %s again", i.name, strings.Join(after, " and ")))
	}
	return strings.Join(saw, "\n"), nil
}

// again makes a snapshot on top of an earlier one, and removes it. containerd takes
// some seconds to reconnect to a restarted snapshotter, and fails requests until
// then.
func (r *serving) again(ctx context.Context, i instance) error {
	const key, pause = "another", 100 * time.Millisecond
	for deadline := time.Now().Add(r.Timeout); ; {
		_, err := r.server.Prepare(ctx, i.name, key, parentKey)
		if err == nil {
			return r.server.Remove(ctx, i.name, key)
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

// contents returns the hashes of the files in a data directory, by path. Databases
// change at any time, so they have no hash.
func contents(dir string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		found[path] = entry.Type().String()
		if !entry.Type().IsRegular() || filepath.Ext(path) == ".db" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found[path] = fmt.Sprintf("%x", sha256.Sum256(data))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the data directory: %w", err)
	}
	return found, nil
}

// lost returns an error if a file of the data directory is gone or changed.
func lost(i instance, before, after map[string]string) error {
	for _, path := range slices.Sorted(maps.Keys(before)) {
		switch now, there := after[path]; {
		case !there:
			return fmt.Errorf("stopping %s removed %s", i.name, path)
		case now != before[path]:
			return fmt.Errorf("stopping %s changed %s", i.name, path)
		}
	}
	return nil
}

// removed removes all snapshots except those of the image, and stops everything.
func (r *serving) removed(ctx context.Context) (string, error) {
	for _, i := range instances {
		if err := cmp.Or(r.server.Remove(ctx, i.name, childKey, parentKey), r.server.Collect(ctx), r.gone(ctx, i)); err != nil {
			return "", err
		}
	}
	for _, d := range []*host.Daemon{r.server.Daemon, r.daemons[guestPull], r.daemons[hostShare]} {
		if err := d.Stop(r.Timeout); err != nil {
			return "", err
		}
	}
	return "neither instance has one left, nor its folder, and all three programs stop", nil
}

// gone expects an instance to have only the snapshots of the image, and their
// folders.
func (r *serving) gone(ctx context.Context, i instance) error {
	left, err := r.server.Snapshots(ctx, i.name)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%s has %q left", i.name, left)
	}
	image, imageErr := r.server.In(containerd.CRI).Snapshots(ctx, i.name)
	folders, foldersErr := os.ReadDir(filepath.Join(r.data(i), "snapshots"))
	if err := cmp.Or(err, imageErr, foldersErr); err != nil {
		return err
	}
	if len(folders) != len(image) {
		return fmt.Errorf("%s has %d folders of snapshots, and %d snapshots", i.name, len(folders), len(image))
	}
	return nil
}
