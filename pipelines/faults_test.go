//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

var (
	faultSeed = flag.Uint64("faults.seed", 1, "seed of the first sequence of faults")
	faultRuns = flag.Int("faults.runs", 12, "how many sequences of faults, each with the next seed")
)

// password is what no output may hold.
const password = "not-to-be-printed"

// campaign is what all sequences share: the program, a tree, what the program makes of
// it when nothing is wrong, and what was counted.
type campaign struct {
	program, tree, golden string
	want                  map[string]string
	image                 string

	steps, faults, kills, full, damage, poison, succeeded atomic.Int64
}

// world is one sequence: a cache, an output folder and a registry behind a proxy that
// faults come from.
type world struct {
	*testing.T
	*campaign
	*rand.Rand
	disk, cache, out string
	// mounted is whether the disk is one of its own, which can be filled: root may do so.
	mounted bool
	// registry is the address of the proxy, direct that of the registry.
	registry, direct, folder string
	// rate is how many of a hundred requests meet a fault.
	rate atomic.Int64
	pick func() registrytest.Action
	log  bytes.Buffer
}

// RoundTrip performs a request, perhaps with a fault.
func (w *world) RoundTrip(request *http.Request) (*http.Response, error) {
	if rand.Int64N(100) >= w.rate.Load() {
		return http.DefaultTransport.RoundTrip(request)
	}
	w.faults.Add(1)
	return w.pick()(request, http.DefaultTransport)
}

// networkFaults are those that a step's faults are taken from, with n bytes where they
// count bytes.
func networkFaults(n int64) []registrytest.Action {
	return []registrytest.Action{
		registrytest.Status(http.StatusUnauthorized), registrytest.Status(http.StatusForbidden),
		registrytest.Status(http.StatusNotFound), registrytest.Status(http.StatusBadRequest),
		registrytest.Status(http.StatusTooManyRequests, "Retry-After", "0"), registrytest.Status(http.StatusInternalServerError),
		registrytest.Status(http.StatusServiceUnavailable), registrytest.Refuse(), registrytest.NoRange(),
		registrytest.Reset(n), registrytest.End(n), registrytest.Wrong(n), registrytest.Truncate(n), registrytest.ResetBody(n),
		registrytest.Slow(n+1, time.Millisecond),
	}
}

// TestFaults runs random sequences of commands while connections break, registries
// lie, disks fill up, files are damaged and the program is killed. Whatever happens,
// a command ends by itself, prints no secret, and leaves the right bytes under an
// output's name or nothing. Once the faults are over, the next run is as if there had
// been none. `make faults` tries more sequences. -faults.seed repeats the commands and the
// kinds of faults of one; which request meets a fault depends on timing.
func TestFaults(t *testing.T) {
	c := newCampaign(t)
	t.Cleanup(func() {
		t.Logf("%d sequences, %d commands: %d succeeded; %d faulty answers, %d kills, %d full disks, %d damaged files, %d poisoned entries",
			*faultRuns, c.steps.Load(), c.succeeded.Load(), c.faults.Load(), c.kills.Load(), c.full.Load(), c.damage.Load(), c.poison.Load())
	})
	for seed := *faultSeed; seed < *faultSeed+uint64(*faultRuns); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c, seed)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("repeat with -faults.seed %d -faults.runs 1\n%s", seed, &w.log)
				}
			})
			if w.IntN(2) == 0 {
				w.puller()
			} else {
				w.pusher()
			}
		})
	}
}

// newCampaign makes a tree and a cache that has what is built from it, and runs the
// commands undisturbed.
func newCampaign(t *testing.T) *campaign {
	dir := t.TempDir()
	c := &campaign{program: filepath.Join(dir, "pipelines"), tree: filepath.Join(dir, "tree"), golden: filepath.Join(dir, "golden")}
	if err := releaseTree(c.tree, c.golden); err != nil {
		t.Fatal(err)
	}
	if _, err := commitAll(c.tree); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, c.program); err != nil { // Under this name it is the program.
		t.Fatal(err)
	}
	w := newWorld(t, c, 0)
	w.fill()
	for _, step := range outputs {
		w.must(step...)
	}
	c.want = w.outputs()
	c.image = w.pushedImage()
	if len(c.want) < 8 {
		t.Fatalf("the undisturbed commands wrote only %d files: %v", len(c.want), c.want)
	}
	return c
}

// outputs are the commands that write what a person asks for.
var outputs = [][]string{
	{"build-asset", "--arch", "x86_64", "tiny", "huge", "-o", "OUT", "--cache", "REF"},
	{"merge", "kata-static", "--arch", "x86_64", "-o", "OUT", "--cache", "REF"},
	{"payload", "build", "--arch", "x86_64", "--base", "scratch", "-o", "OUT/image", "--docker-archive", "OUT/image.tar", "--cache", "REF"},
	{"report", "kata-static", "--arch", "x86_64", "-o", "OUT/report.json", "-o", "OUT/report.md", "-o", "OUT/report.html", "--cache", "REF"},
}

var pushImage = []string{"payload", "push", "REF/kata-deploy", "--arch", "x86_64", "--base", "scratch"}

// pushedImage pushes an image and returns its digest.
func (w *world) pushedImage() string {
	w.Helper()
	_, digest, _ := strings.Cut(strings.TrimSpace(w.must(pushImage...)), "@")
	return digest
}

func newWorld(t *testing.T, c *campaign, seed uint64) *world {
	w := &world{T: t, campaign: c, Rand: rand.New(rand.NewPCG(seed, 0)), disk: t.TempDir(), out: filepath.Join(t.TempDir(), "out")}
	err := syscall.Mount("tmpfs", w.disk, "tmpfs", 0, "size=64m")
	if w.mounted = err == nil; w.mounted {
		t.Cleanup(func() {
			if err := syscall.Unmount(w.disk, 0); err != nil {
				t.Error(err)
			}
		})
	} else if !errors.Is(err, syscall.EPERM) {
		t.Fatal(err)
	}
	w.cache = filepath.Join(w.disk, "cache")
	w.direct, w.folder = registrytest.New(t), fmt.Sprintf("seed-%d", seed)
	to := &url.URL{Scheme: "http", Host: w.direct}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport:    w,
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
	t.Cleanup(proxy.Close)
	w.registry = strings.TrimPrefix(proxy.URL, "http://")
	if err := os.MkdirAll(filepath.Join(w.disk, "docker"), 0o755); err != nil {
		t.Fatal(err)
	}
	login := base64.StdEncoding.EncodeToString([]byte("me:" + password))
	w.write(filepath.Join(w.disk, "docker", "config.json"), fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, w.registry, login))
	return w
}

func (w *world) write(path string, data []byte) {
	w.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		w.Fatal(err)
	}
}

// fill gives the world a cache that has everything.
func (w *world) fill() {
	w.Helper()
	if err := os.CopyFS(w.cache, os.DirFS(w.golden)); err != nil {
		w.Fatal(err)
	}
}

// puller has a registry that is right, and a cache that things happen to.
func (w *world) puller() {
	w.fill()
	w.must("cache", "push", "--set", "kata-static", "--arch", "x86_64", "--cache", "REF")
	if err := os.RemoveAll(w.cache); err != nil {
		w.Fatal(err)
	}
	steps := append(slices.Clone(outputs), []string{"cache", "pull", "--set", "kata-static", "--arch", "x86_64", "--cache", "REF"},
		[]string{"cache", "verify"}, []string{"cache", "ls", "--cache", "REF"}, []string{"plan", "--set", "kata-static", "--arch", "x86_64", "--cache", "REF"})
	for range 3 + w.IntN(5) {
		for w.IntN(2) == 0 {
			w.damageCache()
		}
		w.disturbed(steps[w.IntN(len(steps))])
	}
	w.calm()
}

// pusher has a cache that is right, and a registry that things happen to.
func (w *world) pusher() {
	w.fill()
	push := []string{"cache", "push", "--set", "kata-static", "--arch", "x86_64", "--cache", "REF"}
	steps := [][]string{push, push, pushImage, {"build-asset", "--arch", "x86_64", "tiny", "--push", "-o", "OUT", "--cache", "REF"},
		{"cache", "verify", "--registry", "--cache", "REF"}}
	for range 3 + w.IntN(5) {
		if w.IntN(3) == 0 {
			w.poisonRegistry()
		}
		w.disturbed(steps[w.IntN(len(steps))])
	}
	w.must(push...)
	w.must("cache", "verify", "--registry", "--cache", "REF")
	if got := w.pushedImage(); got != w.image {
		w.Errorf("the image pushed in the end is %s, not %s", got, w.image)
	}
	if err := os.RemoveAll(w.cache); err != nil { // Another machine.
		w.Fatal(err)
	}
	w.calm()
}

// calm runs the commands without faults: their outputs are the right ones, and nothing
// else is there.
func (w *world) calm() {
	w.Helper()
	w.clear()
	for _, step := range outputs {
		w.must(step...)
	}
	got := w.outputs()
	for name, sum := range w.want {
		if got[name] != sum {
			w.Errorf("%s is %q in the end, not %q", name, got[name], sum)
		}
	}
	w.compare(got)
	w.must("cache", "verify")
}

// clear removes links and pipes from the cache, as the program's refusal of them says.
func (w *world) clear() {
	w.Helper()
	err := filepath.WalkDir(w.cache, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Type().IsRegular() {
			return err
		}
		return os.Remove(path)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.Fatal(err)
	}
}

// must runs a command that has to succeed, and returns what it printed.
func (w *world) must(args ...string) string {
	w.Helper()
	w.rate.Store(0)
	printed, err := w.command(args, 0)
	if err != nil {
		w.Fatalf("without faults, %s: %v", strings.Join(args, " "), err)
	}
	return printed
}

// disturbed runs a command among faults.
func (w *world) disturbed(args []string) {
	w.Helper()
	actions := networkFaults(w.Int64N(400_000))
	first, second := actions[w.IntN(len(actions))], actions[w.IntN(len(actions))]
	w.pick = func() registrytest.Action {
		if rand.IntN(2) == 0 {
			return first
		}
		return second
	}
	w.rate.Store([]int64{0, 10, 30, 100}[w.IntN(4)])
	var moment time.Duration
	if w.IntN(3) == 0 {
		moment = time.Duration(1+w.IntN(400)) * time.Millisecond
		w.kills.Add(1)
	}
	free := w.fillDisk(w.IntN(5) == 0, w.Int64N(800_000))
	_, _ = w.command(args, moment) // It may fail; what it may not do is checked below and by command.
	free()
	w.compare(w.outputs())
}

// command runs a command, killed at a moment unless that is 0.
func (w *world) command(args []string, moment time.Duration) (printed string, err error) {
	w.Helper()
	w.steps.Add(1)
	replace := strings.NewReplacer("OUT", w.out, "REF", w.registry+"/"+w.folder)
	var words []string
	for _, arg := range args {
		words = append(words, replace.Replace(arg))
	}
	ctx, cancel := context.WithTimeout(w.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.program, append(words, "--root", w.tree, "--cache-dir", w.cache)...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GITHUB_") }),
		"DOCKER_CONFIG="+filepath.Join(w.disk, "docker"), "_EXPERIMENTAL_DAGGER_RUNNER_HOST=unix:///nonexistent", "_EXPERIMENTAL_DAGGER_CLI_BIN=/nonexistent")
	var stdout, output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &output
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	if moment > 0 {
		timer := time.AfterFunc(moment, func() { _ = cmd.Process.Kill() }) // It may have ended by itself.
		defer timer.Stop()
	}
	err = cmd.Wait()
	output.Write(stdout.Bytes())
	fmt.Fprintf(&w.log, "$ %s   (rate %d, killed after %s): %v\n%s", strings.Join(args, " "), w.rate.Load(), moment, err, &output)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		w.Errorf("%s did not end", strings.Join(args, " "))
	case errors.As(err, &exit) && exit.ExitCode() != 1 && moment == 0:
		w.Errorf("%s: exit %d: %s", strings.Join(args, " "), exit.ExitCode(), &output)
	case err == nil:
		w.succeeded.Add(1)
	}
	if leaked(output.Bytes(), password) != "" {
		w.Errorf("%s printed the password: %s", strings.Join(args, " "), &output)
	}
	return stdout.String(), err
}

// outputs returns the sums of all output files, by name, except the logs.
func (w *world) outputs() map[string]string {
	w.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(w.out, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == w.out {
			return fs.SkipAll
		}
		if err == nil && entry.Name() == "logs" {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		sums[strings.TrimPrefix(path, w.out)] = fmt.Sprintf("%x", sha(data))
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return sums
}

// compare fails if an output is anything but what an undisturbed run writes. Files
// that a killed run was writing have names that begin with a period.
func (w *world) compare(got map[string]string) {
	w.Helper()
	for name, sum := range got {
		if strings.Contains(name, "/.") {
			continue
		}
		if w.want[name] != sum {
			w.Errorf("%s is %q, not %q", name, sum, w.want[name])
		}
	}
}
