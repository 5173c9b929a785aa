//go:build bench

package main

import (
	"archive/tar"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/build"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive/foreign"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
)

// The limits of an import, beside `zstd -dc | tar -x MEMBER`.
const (
	importRatio    = 1.1
	importMemory   = 64 << 10 // KiB, of the process that reads
	importArchive  = 1500 << 20
	importRounds   = 5
	importArgument = "KATA_BENCH_IMPORT" // of that process
)

// importAssets is an asset of the last member of the archive.
const importAssets = `family: tool
assets:
  - name: last
    description: the last member
    arches: [x86_64, aarch64, s390x, ppc64le]
    import: {source: assets.tool.release, members: {opt/kata/bin/last: opt/kata/bin/last}}
`

// TestImportSpeed takes one member out of an archive of 1.5 GB, which is as large as a
// release of Kata, checks its hash, and compares that with zstd and tar.
func TestImportSpeed(t *testing.T) {
	w := t.TempDir()
	program, archive := filepath.Join(w, "pipelines"), filepath.Join(w, "release.tar.zst")
	command(t, ".", "go", "build", "-o", program, ".")
	sum := writeRelease(t, archive)
	root, cache := filepath.Join(w, "tree"), filepath.Join(w, "cache")
	check(t, os.CopyFS(root, os.DirFS(filepath.Join("testdata", "tree"))))
	file(t, filepath.Join(root, "assets", "tool", "assets.yaml"), importAssets)
	lock, err := os.ReadFile(filepath.Join(root, "assets", "sources.yaml"))
	check(t, err)
	file(t, filepath.Join(root, "assets", "sources.yaml"), string(lock)+"assets.tool:\n  \"v1\":\n    release: [{name: a, url: \"https://example.org/a\", sha256: \""+sum+"\"}]\n")
	pins, err := os.ReadFile(filepath.Join(root, "versions.yaml"))
	check(t, err)
	file(t, filepath.Join(root, "versions.yaml"), string(pins)+"  tool: {version: v1}\n")
	check(t, os.MkdirAll(filepath.Join(cache, "sources", "sha256"), 0o755))
	check(t, os.Link(archive, filepath.Join(cache, "sources", "sha256", sum)))

	var untars, whole []time.Duration
	reads := map[string][]time.Duration{}
	memory := int64(0)
	for range importRounds {
		for _, member := range []string{"last", "middle"} {
			t.Setenv(importArgument, archive+"\n"+sum+"\n"+member)
			took, _ := timed(t, w, self(t), "-test.run", "^TestImportProcess$")
			reads[member], memory = append(reads[member], took), max(memory, peakOf(t, archive))
		}
		took, _ := timed(t, w, "sh", "-c", "zstd -q -dc release.tar.zst | tar -x opt/kata/bin/last")
		untars = append(untars, took)
		remove(t, filepath.Join(cache, "store"))
		took, _ = timed(t, w, program, "--root", root, "--cache-dir", cache, "build-asset", "last")
		whole = append(whole, took)
	}
	tarTime := median(untars).Seconds()
	for _, member := range []string{"last", "middle"} {
		t.Logf("taking the %s member %v, zstd and tar %v: %.2f times", member, median(reads[member]), median(untars), median(reads[member]).Seconds()/tarTime)
	}
	t.Logf("%d KiB of memory; with packing, storing and vetting %v", memory, median(whole))
	if ratio := median(reads["last"]).Seconds() / tarTime; ratio > importRatio || memory > importMemory {
		t.Errorf("want at most %.1f times and %d KiB", importRatio, importMemory)
	}
}

// TestImportProcess is the process that reads.
func TestImportProcess(t *testing.T) {
	arguments := strings.Split(os.Getenv(importArgument), "\n")
	if len(arguments) != 3 {
		t.Skip("it is for TestImportSpeed")
	}
	archive, sum, name := arguments[0], arguments[1], "opt/kata/bin/"+arguments[2]
	info, err := os.Stat(archive)
	check(t, err)
	opened, err := source.OpenFile(source.Fetched{Name: "release", Path: archive, SHA256: sum, Size: info.Size()})
	check(t, err)
	defer opened.Close()
	_, err = foreign.Extract(t.Context(), opened, []foreign.Member{{From: name, To: name}}, t.TempDir())
	check(t, err)
	check(t, opened.Verify(t.Context()))
	writePeak(t, archive)
}

// writeRelease writes a tar in zstd: copies of Go's own files, a third of which is machine
// code, and random data as in compressed images. It returns the sha256.
func writeRelease(t *testing.T, path string) string {
	t.Helper()
	out, err := os.Create(path)
	check(t, err)
	defer out.Close()
	hash := sha256.New()
	packed := &passing{to: io.MultiWriter(out, hash)}
	zstd := exec.CommandContext(t.Context(), "zstd", "-q", "-3", "-T0")
	zstd.Stdout = packed
	in, err := zstd.StdinPipe()
	check(t, err)
	check(t, zstd.Start())
	tw := tar.NewWriter(in)
	program, err := os.ReadFile(self(t))
	check(t, err)
	named := func(name string) { add(t, tw, "opt/kata/bin/"+name, program[:4<<20]) } // As large as virtiofsd.
	for i, half := 0, false; packed.n.Load() < importArchive; i++ {
		if !half && packed.n.Load() > importArchive/2 {
			named("middle")
			half = true
		}
		noise := make([]byte, 16<<20)
		_, _ = rand.Read(noise)
		add(t, tw, fmt.Sprintf("opt/kata/share/%d/noise", i), noise)
		check(t, filepath.WalkDir(filepath.Join(build.Default.GOROOT, "pkg"), func(name string, item fs.DirEntry, err error) error {
			if err != nil || !item.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(name)
			if err == nil {
				add(t, tw, fmt.Sprintf("opt/kata/share/%d/%s", i, strings.TrimPrefix(name, "/")), data)
			}
			return err
		}))
	}
	named("last")
	check(t, tw.Close())
	check(t, in.Close())
	check(t, zstd.Wait())
	return hex.EncodeToString(hash.Sum(nil))
}

func add(t *testing.T, to *tar.Writer, name string, data []byte) {
	t.Helper()
	check(t, to.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}))
	_, err := to.Write(data)
	check(t, err)
}

// passing counts what it passes on.
type passing struct {
	to io.Writer
	n  atomic.Int64
}

func (c *passing) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.to.Write(p)
}
