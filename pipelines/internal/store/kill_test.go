package store

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// hostVariable names the registry of a second process.
const hostVariable = "STORE_TEST_HOST"

// The places where a second process waits to be killed.
const (
	inPulledBlob   = "pull blob"
	afterBlobs     = "pull manifest"
	inPushedBlob   = "push blob"
	beforeManifest = "push manifest"
	anywhere       = "pull anywhere"
)

// reached reports to the parent that this process may be killed, and never returns.
func reached() {
	fmt.Println("reached")
	select {}
}

// registryChild runs in another process, and pulls or pushes artifact 0.
func registryChild(s *Local, role string) error {
	ctx, ref := context.Background(), numbered(0).Ref
	p, err := withTarball(numbered(0), os.Getenv(scratchVariable))
	if err != nil {
		return err
	}
	tarball, err := os.ReadFile(p.Tarball)
	if err != nil {
		return err
	}
	blob := "/blobs/" + digest.FromBytes(tarball).String() + "$"
	faults, options := &registrytest.Faults{}, oci.Options{}
	switch role {
	case inPulledBlob:
		faults.Rules = []registrytest.Rule{{Method: http.MethodGet, Path: blob, Do: registrytest.Stall(600_000, reached)}}
	case afterBlobs:
		options.Report = progress.New(atEnd{}, progress.Plain, nil)
	case anywhere:
		faults.Rules = []registrytest.Rule{{Method: http.MethodGet, Path: blob, Do: registrytest.Slow(50_000, time.Millisecond)}}
	case inPushedBlob:
		faults.Rules = []registrytest.Rule{{Method: http.MethodPatch, Path: "/blobs/uploads/", Do: registrytest.StallBody(5, reached)}}
	case beforeManifest:
		faults.Rules = []registrytest.Rule{{Method: http.MethodPut, Path: "/manifests/", Do: registrytest.Hang(reached)}}
	}
	options.Transport = faults
	r, err := OpenRegistry(os.Getenv(hostVariable)+"/kata/cache", options)
	if err != nil {
		return err
	}
	if role == inPushedBlob || role == beforeManifest {
		return r.Push(ctx, ref, s, []string{"v1"})
	}
	tiered := &Tiered{Local: s, Registry: r}
	artifact, err := tiered.Get(ctx, ref)
	if err != nil {
		return err
	}
	_, err = tiered.Export(ctx, artifact, "", filepath.Join(os.Getenv(scratchVariable), "out"))
	return err
}

// atEnd is a report that waits to be killed at the end of a transfer.
type atEnd struct{}

// Write reports to the parent.
func (atEnd) Write(p []byte) (int, error) {
	reached()
	return len(p), nil
}

// startChild starts a second process with a registry.
func startChild(t *testing.T, role, folder, host string) (cmd *exec.Cmd, waits func() bool) {
	t.Helper()
	t.Setenv(hostVariable, host)
	cmd, lines := start(t, role, folder)
	return cmd, lines.Scan
}

func TestKilledPull(t *testing.T) { killedPull(t, registrytest.New(t)) }

func killedPull(t *testing.T, host string) {
	p, err := withTarball(numbered(0), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := pushed(t, host, p)
	for role, blobs := range map[string][]string{
		inPulledBlob: {fmt.Sprintf("%s bytes=600000-%d", want.Digest, want.Size-1)},
		afterBlobs:   nil,
	} {
		t.Run(role, func(t *testing.T) {
			s, local := open(t)
			cmd, waits := startChild(t, role, s.dir, host)
			if !waits() {
				t.Fatal("the other process did not get there")
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			wantMiss(t, s, p.Ref)
			sound(t, s)
			r, faults, n := connect(t, host)
			tiered := &Tiered{Local: s, Registry: r}
			if changed, err := tiered.Export(t.Context(), want, "", filepath.Join(t.TempDir(), "out")); err != nil || !changed {
				t.Errorf("Export: %t, %v", changed, err)
			}
			same(t, s, want, p)
			var asked []string
			for _, request := range faults.Requests() {
				if _, blob, found := strings.Cut(request, "/blobs/"); found {
					asked = append(asked, blob)
				}
			}
			if strings.Join(asked, "\n") != strings.Join(blobs, "\n") {
				t.Errorf("asked for %q after the kill, want %q", asked, blobs)
			}
			n.want(t)
			local.want(t)
		})
	}
}

// TestKilledPulls kills pulls at many moments, also while they write the layout.
func TestKilledPulls(t *testing.T) {
	host := registrytest.New(t)
	p, err := withTarball(numbered(0), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := pushed(t, host, p)
	killed := 0
	for round := range 12 {
		s, local := open(t)
		cmd, waits := startChild(t, anywhere, s.dir, host)
		timer := time.AfterFunc(time.Duration(10+6*round)*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for waits() {
		}
		if cmd.Wait() != nil {
			killed++
		}
		timer.Stop()
		sound(t, s)
		r, _, n := connect(t, host)
		tiered := &Tiered{Local: s, Registry: r}
		got, err := tiered.Get(t.Context(), p.Ref)
		if err != nil || got.Manifest.Digest() != want.Manifest.Digest() {
			t.Fatalf("round %d: Get: %+v, %v", round, got, err)
		}
		if changed, err := tiered.Export(t.Context(), got, "", filepath.Join(t.TempDir(), "out")); err != nil || !changed {
			t.Fatalf("round %d: Export: %t, %v", round, changed, err)
		}
		same(t, s, want, p)
		n.want(t)
		local.want(t)
	}
	if killed == 0 {
		t.Error("no process was killed")
	}
	t.Logf("%d of 12 were killed", killed)
}

func TestKilledPush(t *testing.T) { killedPush(t, registrytest.New) }

func killedPush(t *testing.T, host func(testing.TB) string) {
	p, err := withTarball(numbered(0), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{inPushedBlob, beforeManifest} {
		t.Run(role, func(t *testing.T) {
			host := host(t)
			s, local := open(t)
			put(t, s, p)
			cmd, waits := startChild(t, role, s.dir, host)
			if !waits() {
				t.Fatal("the other process did not get there")
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			r, faults, n := connect(t, host)
			if _, err := r.Lookup(t.Context(), p.Ref); !IsNotFound(err) {
				t.Errorf("Lookup after the kill: %v, want a miss", err)
			}
			if err := r.Push(t.Context(), p.Ref, s, []string{"v1"}); err != nil {
				t.Errorf("the next Push: %v", err)
			}
			wanted := map[string]int{inPushedBlob: 5, beforeManifest: 2}[role]
			if got := sent(faults); len(got) != wanted {
				t.Errorf("the next Push sent %q, want %d", got, wanted)
			}
			if err := verified(t, r, p.Ref); err != nil {
				t.Error(err)
			}
			sound(t, s)
			n.want(t)
			local.want(t)
		})
	}
}
