//go:build bench

package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/kata-deploy/internal/components"
)

// scale divides the sizes of the components: a payload has some 2 GiB.
const scale = 8

// real is a folder with a real payload to measure, opt/kata-artifacts of an image.
var real = flag.String("payload", "", "folder of a payload (default: one with the sizes of the catalog's budgets)")

// TestOneShimAgainstAll compares the installation of one shim with unpacking all that the
// payload has, as Kata 3.28 does. The sizes are the budgets of the catalog. Both sync the
// disk; the program's memory is that of its own process.
func TestOneShimAgainstAll(t *testing.T) {
	w := newWorld(t)
	shims := []string{"fc", "qemu", "qemu-tdx"}
	if *real != "" {
		w.payload = *real
		payload, err := components.Open(*real, "x86_64")
		must(t, err)
		shims = payload.Shims()
	} else {
		w.budgets()
	}
	tarballs, err := filepath.Glob(filepath.Join(w.payload, "tarballs", "*.tar.zst"))
	must(t, err)
	start := time.Now()
	size := w.unpackAll(tarballs)
	all := time.Since(start)
	fmt.Printf("all %d components   %6d MiB  %5.2f s\n", len(tarballs), size>>20, all.Seconds())
	for _, shim := range shims {
		root := w.t.TempDir()
		used, took, rss := w.measured(root, shim)
		_, again, _ := w.measured(root, shim)
		fmt.Printf("install %-24s %6d MiB  %5.2f s  bytes %.2f, time %.2f of all  memory %d MiB  again %.2f s\n", shim, used>>20, took.Seconds(),
			float64(used)/float64(size), took.Seconds()/all.Seconds(), rss>>20, again.Seconds())
		must(t, os.RemoveAll(root))
		if rss > 64<<20 {
			t.Errorf("%s took %d MiB of memory, want at most 64", shim, rss>>20)
		}
	}
}

// budgets makes a payload of the components of a release.
func (w *world) budgets() {
	w.t.Helper()
	tree := os.DirFS("../../../..")
	assets, err := catalog.Load(tree)
	must(w.t, err)
	list, err := assets.LoadShims(tree)
	must(w.t, err)
	text, err := list.JSON()
	must(w.t, err)
	must(w.t, os.WriteFile(filepath.Join(w.payload, "shim-components.json"), text, 0o644))
	set, err := assets.FindSet("kata-static")
	must(w.t, err)
	for i, name := range set.Components[catalog.X86_64] {
		asset, err := assets.Find(name, catalog.X86_64)
		must(w.t, err)
		w.filled(asset, i)
	}
}

// filled makes the tarball of an asset with as many bytes as its budget has, and what the
// installer looks for.
func (w *world) filled(asset catalog.Asset, seed int) {
	w.t.Helper()
	data := make([]byte, int64(asset.Budget)/scale)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(data)
	content := map[string]string{"share/" + asset.Name: string(data)}
	if asset.Name == "shim-v2" {
		for at, text := range map[string]string{"configuration-qemu.toml": qemu, "configuration-qemu-tdx.toml": qemu, "configuration-fc.toml": fc} {
			content["share/defaults/kata-containers/"+at] = text
		}
		content["bin/containerd-shim-kata-v2"] = program
	}
	w.component(asset.Name, content)
}

const fc = "[hypervisor.firecracker]\n[agent.kata]\n[runtime]\n"

// unpackAll unpacks all tarballs and syncs the disk.
func (w *world) unpackAll(tarballs []string) (size int64) {
	w.t.Helper()
	dir := w.t.TempDir()
	for _, tarball := range tarballs {
		file, err := os.Open(tarball)
		must(w.t, err)
		members, err := archive.Unpack(file, filepath.Join(dir, filepath.Base(tarball)))
		for _, m := range members {
			size += m.Size
		}
		must(w.t, errors.Join(err, file.Close()))
	}
	syscall.Sync()
	return size
}

// measured installs a shim on a node in a process of its own.
func (w *world) measured(root, shim string) (size int64, took time.Duration, rss int64) {
	w.t.Helper()
	config := filepath.Join(root, "etc/containerd/config.toml")
	if _, err := os.Stat(config); err != nil {
		must(w.t, errors.Join(os.MkdirAll(filepath.Dir(config), 0o755), os.WriteFile(config, []byte("version = 3\n"), 0o644)))
	}
	env := map[string]string{"NODE_NAME": "one", "SHIMS_X86_64": shim}
	text, err := json.Marshal(child{Root: root, Payload: w.payload, API: w.serve(), Env: env})
	must(w.t, err)
	cmd := exec.CommandContext(w.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	var printed, status bytes.Buffer
	cmd.Stderr, cmd.Stdout = &printed, &status
	start := time.Now()
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("%v\n%s", err, printed.String())
	}
	took = time.Since(start)
	_ = filepath.Walk(filepath.Join(root, "host/opt"), func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return err
	})
	_, peak, _ := strings.Cut(status.String(), "VmHWM:")
	_, err = fmt.Sscan(peak, &rss)
	must(w.t, err)
	return size, took, rss << 10
}
