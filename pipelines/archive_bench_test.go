//go:build bench

package main

import (
	"encoding/binary"
	"fmt"
	"go/build"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// The limits are those that the format of tarballs was made for.
const (
	todayRatio     = 25  // at least, faster than today's way
	catRatio       = 1.5 // at most, of the time of cat
	mergeMemory    = 64 << 10
	readLimit      = 50 * time.Millisecond
	mergeParts     = 10
	partUnpacked   = 470 << 20
	gigabyteParts  = 5
	mergeRounds    = 5
	mergeArguments = "KATA_BENCH_MERGE" // of the process that merges
	packArguments  = "KATA_BENCH_PACK"  // of the one that packs
	sizeRatio      = 1.02               // at most, of the size of zstd -10
	packRounds     = 3
)

// TestArchiveSize packs real files beside zstd -10: the members of the tarballs
// that KATA_BENCH_TARBALLS names, with spaces between, or the Go tools, which are
// machine code with and without debug information.
func TestArchiveSize(t *testing.T) {
	tarballs := strings.Fields(os.Getenv("KATA_BENCH_TARBALLS"))
	if len(tarballs) == 0 {
		dir := filepath.Join(t.TempDir(), "go")
		check(t, os.CopyFS(dir, os.DirFS(filepath.Join(build.Default.GOROOT, "pkg", "tool"))))
		comparePack(t, "the Go tools", dir)
	}
	for _, tarball := range tarballs {
		dir := t.TempDir()
		command(t, dir, "sh", "-c", `zstd -q -dc "$1" | tar -x`, "sh", tarball)
		comparePack(t, filepath.Base(tarball), dir)
	}
}

func comparePack(t *testing.T, name, dir string) {
	t.Helper()
	ours, theirs := filepath.Join(t.TempDir(), "ours"), filepath.Join(t.TempDir(), "theirs")
	var packs, zstds []time.Duration
	var memory int64
	for range packRounds {
		t.Setenv(packArguments, dir+"\n"+ours)
		took, _ := timed(t, ".", self(t), "-test.run", "^TestPackProcess$")
		packs, memory = append(packs, took), max(memory, peakOf(t, ours))
		took, _ = timed(t, dir, "sh", "-c", `tar --sort=name -c . | zstd -q -10 -T0 -f -o "$1"`, "sh", theirs)
		zstds = append(zstds, took)
	}
	a, err := os.Stat(ours)
	check(t, err)
	b, err := os.Stat(theirs)
	check(t, err)
	ratio := float64(a.Size()) / float64(b.Size())
	t.Logf("%s: %d bytes in %v, %d KiB of memory; zstd -10 -T0 %d bytes in %v: %.4f times the size in %.1f times the time",
		name, a.Size(), median(packs), memory, b.Size(), median(zstds), ratio, median(packs).Seconds()/median(zstds).Seconds())
	if ratio > sizeRatio {
		t.Errorf("want at most %.2f times the size", sizeRatio)
	}
}

// TestPackProcess is the process that packs.
func TestPackProcess(t *testing.T) {
	dir, out, ok := strings.Cut(os.Getenv(packArguments), "\n")
	if !ok {
		t.Skip("runs below TestArchiveSize")
	}
	_, err := archive.Pack(t.Context(), dir, out, archive.Options{Level: recipe.Level, ModTime: time.Unix(recipe.SourceDateEpoch, 0)})
	check(t, err)
	writePeak(t, out)
}

// writePeak writes down the most memory that this process had, in KiB, beside its
// result. What wait4 gives the parent would be at least what the parent has: it
// counts from before the program was started.
func writePeak(t *testing.T, out string) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	check(t, err)
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	check(t, os.WriteFile(out+".peak", []byte(strings.Fields(after)[0]), 0o600))
}

// peakOf reads what a process wrote down.
func peakOf(t *testing.T, out string) int64 {
	t.Helper()
	text, err := os.ReadFile(out + ".peak")
	check(t, err)
	peak, err := strconv.ParseInt(string(text), 10, 64)
	check(t, err)
	return peak
}

func self(t *testing.T) string {
	t.Helper()
	program, err := os.Executable()
	check(t, err)
	return program
}

// TestArchiveSpeed measures a merge of 2 GB of components beside today's way and
// beside cat, and reading one file of a tarball of 1 GB, all in one run.
func TestArchiveSpeed(t *testing.T) {
	w := t.TempDir()
	program := filepath.Join(w, "pipelines")
	command(t, ".", "go", "build", "-o", program, ".")
	var parts []string
	var size int64
	for i := range mergeParts {
		path, n := machineCode(t, w, i)
		parts, size = append(parts, path), size+n
	}
	t.Logf("%d components of %.2f GB in all", len(parts), float64(size)/1e9)
	out := filepath.Join(w, "out.tar.zst")

	var ours, cats, synced []time.Duration
	var memory int64
	for i := range mergeRounds + 1 {
		took, peak := mergeProcess(t, w, out, parts)
		remove(t, out)
		plain, _ := timed(t, w, "sh", append([]string{"-c", `out=$1; shift; cat "$@" >"$out"`, "sh", out}, parts...)...)
		begin := time.Now()
		command(t, w, "sync", out)
		sync := time.Since(begin)
		remove(t, out)
		if i > 0 { // the first round finds the files on the disk
			ours, cats, synced = append(ours, took), append(cats, plain), append(synced, plain+sync)
			memory = max(memory, peak)
		}
	}
	begin := time.Now()
	command(t, w, "sh", append([]string{"-ec", `out=$1; shift; mkdir tree; for part; do zstd -q -dc "$part" | tar -x -C tree; done; tar -C tree -c . | zstd -q -10 -T0 -o "$out"`, "sh", out}, parts...)...)
	today := time.Since(begin)
	remove(t, filepath.Join(w, "tree"))
	remove(t, out)
	t.Logf("merge %v (%v); cat %v (%v), ratio %.2f; cat and sync %v (%v), ratio %.2f; untar, tar and zstd -10 %v, %.0f times as long; peak memory %d KiB",
		median(ours), ours, median(cats), cats, median(ours).Seconds()/median(cats).Seconds(),
		median(synced), synced, median(ours).Seconds()/median(synced).Seconds(),
		today.Round(time.Millisecond), today.Seconds()/median(ours).Seconds(), memory)
	if median(ours).Seconds() > catRatio*median(cats).Seconds() || today.Seconds() < todayRatio*median(ours).Seconds() || memory > mergeMemory {
		t.Errorf("want at most %.1f times cat, today's way %d times as long, and %d KiB", catRatio, todayRatio, mergeMemory)
	}
	readOne(t, w, program, parts[:gigabyteParts])
}

// readOne reads one file out of a tarball of 1 GB, the last one of a full frame.
func readOne(t *testing.T, w, program string, parts []string) {
	big := filepath.Join(w, "big.tar.zst")
	mergeProcess(t, w, big, parts)
	info, err := os.Stat(big)
	check(t, err)
	name := fmt.Sprintf("./opt/kata/share/%d/small-15", len(parts)-1)
	var reads []time.Duration
	for range rounds {
		took, _ := timed(t, w, program, "archive", "cat", big, name)
		reads = append(reads, took)
	}
	begin := time.Now()
	command(t, w, "sh", "-c", `zstd -q -dc "$1" | tar -xO "$2" >/dev/null`, "sh", big, name)
	t.Logf("one file out of %.2f GB: %v (%v); zstd and tar %v", float64(info.Size())/1e9, median(reads), reads, time.Since(begin).Round(time.Millisecond))
	if median(reads) > readLimit {
		t.Errorf("want at most %v", readLimit)
	}
}

// machineCode packs files that compress to 43 %, as machine code does: a large
// one, and small ones that share a frame.
func machineCode(t *testing.T, w string, i int) (path string, size int64) {
	t.Helper()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(uint64(i), 1))
	write := func(name string, n int) {
		data := make([]byte, 0, n+8)
		for len(data) < n {
			data = binary.LittleEndian.AppendUint32(data, uint32(random.ExpFloat64()*300))
		}
		file(t, filepath.Join(dir, fmt.Sprintf("opt/kata/share/%d", i), name), string(data))
	}
	write("big", partUnpacked-16<<20)
	for n := range 16 {
		write(fmt.Sprintf("small-%02d", n), 1000<<10)
	}
	path = filepath.Join(w, fmt.Sprintf("part-%02d.tar.zst", i))
	summary, err := archive.Pack(t.Context(), dir, path, archive.Options{Level: 1, ModTime: time.Unix(1772323200, 0)})
	check(t, err)
	check(t, os.WriteFile(path+".sha256", []byte(summary.SHA256), 0o600))
	remove(t, dir)
	return path, summary.Size
}

// mergeProcess merges in a process of its own, so that its memory is seen.
func mergeProcess(t *testing.T, w, out string, parts []string) (time.Duration, int64) {
	t.Helper()
	t.Setenv(mergeArguments, strings.Join(append([]string{out}, parts...), "\n"))
	took, _ := timed(t, w, self(t), "-test.run", "^TestMergeProcess$")
	return took, peakOf(t, out)
}

// TestMergeProcess is that process.
func TestMergeProcess(t *testing.T) {
	arguments := strings.Split(os.Getenv(mergeArguments), "\n")
	if len(arguments) < 2 {
		t.Skip("runs below TestArchiveSpeed")
	}
	var components []archive.Component
	for _, path := range arguments[1:] {
		digest, err := os.ReadFile(path + ".sha256")
		check(t, err)
		components = append(components, archive.Component{Name: filepath.Base(path), Path: path, Digest: string(digest)})
	}
	// All but the first merge find that the components were vetted.
	m, err := archive.PlanMerge(t.Context(), components, nil, archive.Options{ModTime: time.Unix(1772323200, 0), Cache: filepath.Dir(arguments[0])})
	check(t, err)
	_, err = m.Write(t.Context(), arguments[0], nil)
	check(t, err)
	writePeak(t, arguments[0])
}
