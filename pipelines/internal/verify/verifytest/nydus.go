package verifytest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// Machine is this machine with all its programs, below the root of the repository. Tools that
// tests compile are kept in a folder of their own in the user's cache.
func Machine(t testing.TB, root string, limit time.Duration) host.Host {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return host.Host{Root: root, Cache: filepath.Join(cache, "kata-pipelines-tests"), Timeout: limit}
}

// Pinned returns the version and the commit of the snapshotter that the tree pins.
func Pinned(t testing.TB, root string) (version, commit string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "versions.yaml"))
	var pins struct {
		Externals struct {
			Snapshotter struct{ Version, Commit string } `yaml:"nydus-snapshotter"`
		}
	}
	if err == nil {
		err = yaml.Unmarshal(data, &pins)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pins.Externals.Snapshotter.Version, pins.Externals.Snapshotter.Commit
}

// NydusTarball returns a tarball of nydus-for-kata-tee for this machine: the one that
// KATA_TEST_NYDUS_TARBALL names, or one of the pinned version, whose programs are compiled
// here, without an engine, and installed by the scripts of the asset.
func NydusTarball(t testing.TB, root string) string {
	t.Helper()
	if file := os.Getenv("KATA_TEST_NYDUS_TARBALL"); file != "" {
		return file
	}
	root, work := Machine(t, root, 0).Root, t.TempDir()
	environ := append(os.Environ(), "CGO_ENABLED=0", "BUILD="+work, "FILES="+root, "DESTDIR="+filepath.Join(work, "out"))
	const asset, module = "nydus-for-kata-tee", "github.com/containerd/nydus-snapshotter"
	assets, err := catalog.Load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	found, err := assets.Find(asset, catalog.HostArch())
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range found.Options {
		environ = append(environ, name+"="+value)
	}
	version, commit := Pinned(t, root)
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(run(t, environ, root, "go", "mod", "download", "-json", module+"@"+version), &downloaded); err != nil {
		t.Fatal(err)
	}
	set := " -X " + module + "/version."
	run(t, environ, downloaded.Dir, "go", "build", "-trimpath", "-ldflags=-s -w -X main.Version="+version+set+"Version="+version+set+"Revision="+commit,
		"-o", filepath.Join(work, "bin")+"/", "./cmd/containerd-nydus-grpc", "./cmd/nydus-overlayfs")
	for _, script := range []string{"prepare.sh", "install.sh"} {
		run(t, environ, root, filepath.Join(root, "assets", asset, script))
	}
	tarball := filepath.Join(work, "kata-static-"+asset+".tar.zst")
	if _, err := archive.Pack(t.Context(), filepath.Join(work, "out"), tarball, archive.Options{Level: 1, ModTime: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	return tarball
}

// run returns what a program prints in a folder.
func run(t testing.TB, environ []string, dir string, args ...string) []byte {
	t.Helper()
	cmd := command.New(t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, environ, os.Stderr
	printed, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return printed
}
