package nydus

import (
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

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/containerd"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// killed kills each instance, restarts it, and expects its snapshots.
func (r *run) killed(ctx context.Context) string {
	return r.outlived(ctx, func(i instance) { report.Must(r.daemons[i.name].Kill()) })
}

// stopped stops each instance as systemd does, and expects an unchanged data
// directory, and the snapshots once it runs again.
func (r *run) stopped(ctx context.Context) string {
	// Removed snapshots leave data behind, which must go before the comparison.
	report.Must(r.server.Collect(ctx))
	return r.outlived(ctx, func(i instance) {
		before := report.Try(contents(r.data(i)))
		report.Must(r.daemons[i.name].Stop(r.Timeout))
		report.Must(lost(i, before, report.Try(contents(r.data(i)))))
	})
}

// outlived ends each instance, restarts it, and checks that containerd lists the
// same snapshots and makes new ones.
func (r *run) outlived(ctx context.Context, end func(instance)) string {
	var saw []string
	for _, i := range instances {
		before := report.Try(r.server.Snapshots(ctx, i.name))
		report.Want(slices.Contains(before, parentKey) && slices.Contains(before, childKey),
			"%s has the snapshots %q: want %s and %s", i.name, before, parentKey, childKey)
		end(i)
		r.launch(ctx, i)
		err := r.again(ctx, i)
		report.Want(err == nil, "after %s was started again: %w", i.name, err)
		after := report.Try(r.server.Snapshots(ctx, i.name))
		report.Want(slices.Equal(before, after), "%s has the snapshots %q after it was started again: want %q", i.name, after, before)
		saw = append(saw, fmt.Sprintf("%s has %s again", i.name, strings.Join(after, " and ")))
	}
	return strings.Join(saw, "\n")
}

// again makes a snapshot on top of an earlier one, and removes it. containerd takes
// some seconds to reconnect to a restarted snapshotter, and fails requests until
// then.
func (r *run) again(ctx context.Context, i instance) error {
	const key, pause = "another", 100 * time.Millisecond
	for deadline := time.Now().Add(r.Timeout); ; time.Sleep(pause) {
		_, err := r.server.Prepare(ctx, i.name, key, parentKey)
		if err == nil {
			return r.server.Remove(ctx, i.name, key)
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
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
func (r *run) removed(ctx context.Context) string {
	for _, i := range instances {
		report.Must(r.server.Remove(ctx, i.name, childKey, parentKey))
	}
	report.Must(r.server.Collect(ctx))
	for _, i := range instances {
		left := report.Try(r.server.Snapshots(ctx, i.name))
		report.Want(len(left) == 0, "%s has %q left", i.name, left)
		image := report.Try(r.server.In(containerd.CRI).Snapshots(ctx, i.name))
		folders := report.Try(os.ReadDir(filepath.Join(r.data(i), "snapshots")))
		report.Want(len(folders) == len(image), "%s has %d folders of snapshots, and %d snapshots", i.name, len(folders), len(image))
	}
	for _, d := range []*host.Daemon{r.server.Daemon, r.daemons[guestPull], r.daemons[hostShare]} {
		report.Must(d.Stop(r.Timeout))
	}
	return "neither instance has one left, nor its folder, and all three programs stop"
}
