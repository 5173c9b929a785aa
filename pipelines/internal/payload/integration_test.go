//go:build integration

package payload

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// These tests repeat those of the in-process registry with the distribution's.

func TestDistributionPush(t *testing.T) { pushes(t, registrytest.Distribution(t)) }

func TestDistributionFaults(t *testing.T) { faultsPass(t, registrytest.Distribution) }

func TestDistributionInterrupted(t *testing.T) { interruptedPush(t, registrytest.Distribution(t)) }

func TestDistributionRelease(t *testing.T) { releaseStays(t, registrytest.Distribution(t)) }

func TestDistributionIndex(t *testing.T) { indexes(t, registrytest.Distribution(t)) }

func TestDistributionResolve(t *testing.T) { resolves(t, registrytest.Distribution(t)) }

// TestDistributionMount pushes to another repository of the same registry: unlike this
// one, the in-process registry has one set of blobs for all.
func TestDistributionMount(t *testing.T) {
	host := registrytest.Distribution(t)
	o := options(t)
	o.Base, _ = pushBase(t, host+"/distroless/static", "amd64")
	image := make1(t, o)
	ci, _, _ := repository(t, host+"/kata/ci")
	if pushed := push1(t, ci, image); pushed.Mounted == 0 || pushed.Sent < 100_000 {
		t.Errorf("pushed %+v, want the base to be mounted", pushed)
	}
	faults := &registrytest.Faults{}
	with, _ := remotes(faults, quick)
	with.MountFrom = []string{host + "/kata/other", host + "/kata/ci"}
	release, err := OpenRepository(host+"/kata/release", with)
	if err != nil {
		t.Fatal(err)
	}
	pushed := push1(t, release, image, Tag{Name: "3.28.0", Fixed: true})
	if pushed.Sent != 0 || pushed.Mounted < image.Size() || len(methods(faults, http.MethodPatch)) > 0 {
		t.Errorf("pushed %+v with %q", pushed, faults.Requests())
	}
	wantImage(t, host+"/kata/release:3.28.0", image)
}

// TestDistributionLogin has a registry that requires a password.
func TestDistributionLogin(t *testing.T) {
	host := registrytest.StartDistribution(t, true).Host
	image := make1(t, options(t))
	for name, c := range map[string]struct{ user, password, want string }{
		"nobody": {"", "", "401 Unauthorized"}, "wrong": {registrytest.User, "guess", "401 Unauthorized"}, "right": {registrytest.User, registrytest.Password, ""},
	} {
		client := oci.NewClient(oci.Options{Registry: host, Username: c.user, Password: c.password, Pace: quick})
		r, err := OpenRepository(host+"/kata", RemoteOptions{Client: client})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Push(t.Context(), image, PushOptions{Tags: []Tag{{Name: "a"}}})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "run docker login "+host)):
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if err != nil && c.password != "" && strings.Contains(err.Error(), c.password) {
			t.Errorf("%s: the error has the password", name)
		}
	}
}

// TestDistributionDies has the registry killed in a push, and started again: the
// push goes on.
func TestDistributionDies(t *testing.T) {
	server := registrytest.StartDistribution(t, false)
	image := make1(t, options(t))
	pace := quick
	pace.Tries, pace.Longest, pace.Stall = 40, time.Second, 5*time.Second
	faults := &registrytest.Faults{Rules: []registrytest.Rule{{Method: "PATCH", Path: "uploads", Nth: 2, Do: registrytest.StallBody(1000, func() {
		server.Stop(t)
		go server.Start(t)
	})}}}
	with, _ := remotes(faults, pace)
	with.Parallel = 1
	r, err := OpenRepository(server.Host+"/kata", with)
	if err != nil {
		t.Fatal(err)
	}
	push1(t, r, image, Tag{Name: "a"})
	wantImage(t, server.Host+"/kata:a", image)
}
