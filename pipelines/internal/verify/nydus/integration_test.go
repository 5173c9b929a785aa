//go:build integration

package nydus_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

const root = "../../../.."

func TestNydusTarball(t *testing.T) {
	n := snapshotter
	n.Version, n.Revision = verifytest.Pinned(t, root)
	r := verifytest.Run(t, n, verify.Artifact{Tarball: verifytest.NydusTarball(t, root)}, verifytest.Machine(t, root, time.Minute))
	for _, check := range r.Checks {
		t.Logf("%s %s: %s", check.Verdict, check.Name, check.Saw)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

// unpacked returns the files of a tarball, by path below the asset's folder.
func unpacked(t *testing.T, tarball string) map[string]string {
	t.Helper()
	opened, err := os.Open(tarball)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	dir := t.TempDir()
	members, err := archive.Unpack(opened, dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, m := range members {
		if !m.Mode.IsRegular() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, m.Name))
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(m.Name, "./"+nydusFolder+"/")] = string(data)
	}
	return files
}

// TestNydusFaults spoils a file of a real tarball, and expects the checks that serve a
// containerd to fail.
func TestNydusFaults(t *testing.T) {
	machine := verifytest.Machine(t, root, time.Minute)
	good := unpacked(t, verifytest.NydusTarball(t, root))
	const guest, host = "config-guest-pulling.toml", "config-host-sharing.toml"
	for name, test := range map[string]struct{ file, old, new, check, saw string }{
		"other driver":     {guest, `"proxy"`, `"nodev"`, "guest pull", "want one of type fuse."},
		"no volume":        {guest, "enable_kata_volume = true", "enable_kata_volume = false", "pulled image", "not found"},
		"no verity":        {host, `"layer_block_with_verity"`, `"layer_block"`, "shared image", "want the type layer_raw_block, a hash"},
		"one file":         {host, `"layer_block_with_verity"`, `"image_block_with_verity"`, "shared image", "image_raw_block"},
		"other helper":     {guest, "nydus-overlayfs\"", "overlayfs\"", "guest pull", "want one of type fuse."},
		"same data":        {host, "/var/lib/nydus-for-kata-tee-host-share", "/var/lib/nydus-for-kata-tee", "instances", "does not serve on"},
		"other socket":     {host, "containerd-nydus-grpc.sock", "grpc.sock", "instances", "does not serve on"},
		"broken":           {host, "version = 1", "version = 7", "instances", "unsupported configuration version 7"},
		"no tarfs":         {host, `"blockdev"`, `"fusedev"`, "instances", "ended before it served"},
		"annotations off":  {"containerd/nydus-for-kata-tee-v3.toml", "annotations = false", "annotations = true", "drop-ins", `disable_snapshot_annotations is "true"`},
		"other plugin":     {"containerd/nydus-for-kata-tee-v3.toml", "cri.v1.images", "cri.v1.runtime", "drop-ins", `disable_snapshot_annotations is "true"`},
		"no plugin":        {"containerd/nydus-for-kata-tee-v3.toml", `type = "snapshot"`, `type = "content"`, "drop-ins", `has type "content"`},
		"other data":       {"containerd/nydus-for-kata-tee-v3.toml", `root = "/var/lib/nydus-for-kata-tee"`, `root = "/var/lib/containerd"`, "drop-ins", "exports the root"},
		"ignored for v2":   {"containerd/nydus-for-kata-tee-v2.toml", ".runtimes.runc", ".other", "drop-ins", "the drop-in of version 2"},
		"drop-in, no TOML": {"containerd/nydus-for-kata-tee-v3.toml", "version = 3", "version = [", "drop-ins", "the drop-in of version 3"},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(good)
			if !strings.Contains(files[test.file], test.old) {
				t.Fatalf("%s has no %s", test.file, test.old)
			}
			files[test.file] = strings.ReplaceAll(files[test.file], test.old, test.new)
			if test.saw == "does not serve on" {
				machine.Timeout = 3 * time.Second
			}
			r := verifyNydus(t, files, machine)
			check := verifytest.Find(t, r, test.check)
			if check.Verdict == report.Skipped && strings.Contains(check.Saw, "no nydus-image") {
				t.Skip(check.Saw)
			}
			if check.Verdict != report.Failed || !strings.Contains(check.Saw, test.saw) {
				t.Errorf("%s: %s\nwant it to fail with %q", check.Verdict, check.Saw, test.saw)
			}
		})
	}
}
