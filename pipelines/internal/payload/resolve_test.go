package payload

import (
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// TestResolve resolves tags, and moves one by digest.
func TestResolve(t *testing.T) { resolves(t, registrytest.New(t)) }

func resolves(t *testing.T, host string) {
	r, _, _ := repository(t, host+"/kata")
	if got, err := r.Resolve(t.Context(), "3.28.0"); got != (Tagged{}) || err != nil {
		t.Errorf("of a repository that is not there: %+v, %v", got, err)
	}
	image := make1(t, options(t))
	push1(t, r, image, Tag{Name: "3.28.0", Fixed: true})
	want := Tagged{image.Digest(), "3.28.0", "abc"}
	if got, err := r.Resolve(t.Context(), "3.28.0"); got != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, err := r.Resolve(t.Context(), "3.29.0"); got != (Tagged{}) || err != nil {
		t.Errorf("of no such tag: %+v, %v", got, err)
	}
	pushed, err := r.Tag(t.Context(), image.Digest(), PushOptions{Tags: []Tag{{Name: "a"}}})
	if err != nil || !pushed.Changed || pushed.Digest != image.Digest() {
		t.Errorf("tagged %+v, %v", pushed, err)
	}
	wantImage(t, host+"/kata:a", image)
	if _, err := r.Tag(t.Context(), "sha256:"+strings.Repeat("a", 64), PushOptions{}); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("of a digest that is not there: %v", err)
	}
}

// TestResolveFailures distinguishes hidden tags from failures.
func TestResolveFailures(t *testing.T) {
	for code, hidden := range map[int]bool{401: true, 403: true, 400: false, 503: false} {
		r, _, _ := repository(t, registrytest.New(t)+"/kata", registrytest.Rule{Path: "/manifests/", Do: registrytest.Status(code)})
		if _, err := r.Resolve(t.Context(), "3.28.0"); err == nil || oci.Refused(err) != hidden {
			t.Errorf("%d: %v, hidden %v", code, err, !hidden)
		}
	}
}

// TestCheck finds fixed tags of other images, and changes nothing.
func TestCheck(t *testing.T) {
	r, faults, _ := repository(t, registrytest.New(t)+"/kata")
	image := make1(t, options(t))
	push1(t, r, image, Tag{Name: "3.28.0"})
	other := "sha256:" + strings.Repeat("a", 64)
	for name, c := range map[string]struct {
		digest string
		o      PushOptions
		want   string
	}{
		"same":   {image.Digest(), PushOptions{Tags: []Tag{{Name: "3.28.0", Fixed: true}}}, ""},
		"free":   {other, PushOptions{Tags: []Tag{{Name: "3.29.0", Fixed: true}}}, ""},
		"moving": {other, PushOptions{Tags: []Tag{{Name: "3.28.0"}}}, ""},
		"force":  {other, PushOptions{Tags: []Tag{{Name: "3.28.0", Fixed: true}}, Force: true}, ""},
		"other":  {other, PushOptions{Tags: []Tag{{Name: "3.28.0", Fixed: true}}}, "a release is not replaced"},
	} {
		before := len(faults.Requests())
		err := r.Check(t.Context(), c.digest, c.o, true)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		for _, request := range faults.Requests()[before:] {
			if !strings.HasPrefix(request, "GET /v2/kata/manifests/") {
				t.Errorf("%s: it sent %q", name, request)
			}
		}
	}
}

// TestLatest pushes a fix of an older release after a newer one.
func TestLatest(t *testing.T) {
	host := registrytest.New(t)
	r, _, n := repository(t, host+"/kata")
	digests := map[string]string{}
	for _, version := range []string{"3.28.0", "3.27.1", "3.28.1-rc0", "3.28.1"} {
		o := options(t)
		o.Labels.Version = version
		image := make1(t, o)
		digests[version] = image.Digest()
		push1(t, r, image, IndexTags(commit, version)...)
		want := "3.28.0"
		if version == "3.28.1" {
			want = version
		}
		if got, err := r.Resolve(t.Context(), "latest"); err != nil || got.Digest != digests[want] || got.Version != want {
			t.Errorf("after %s latest is %+v, %v, want %s", version, got, err, want)
		}
	}
	if want := "payload  " + host + "/kata:latest already points to the newer release 3.28.0: not moved\n"; n.String() != want {
		t.Errorf("noted %q, want %q", n, want)
	}
}
