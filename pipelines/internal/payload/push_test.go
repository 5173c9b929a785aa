package payload

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// wantImage reads the image of a reference with another client, and all of it.
func wantImage(t testing.TB, reference string, want *Image) {
	t.Helper()
	got, err := remote.Image(must(name.ParseReference(reference)))
	if err != nil {
		t.Fatal(err)
	}
	if digest := must(got.Digest()); digest.String() != want.Digest() {
		t.Errorf("%s is %s, want %s", reference, digest, want.Digest())
	}
	// The client hashes what it reads.
	for _, l := range must(got.Layers()) {
		content := must(l.Compressed())
		n, err := io.Copy(io.Discard, content)
		if err = errors.Join(err, content.Close()); err != nil || n != must(l.Size()) {
			t.Errorf("%s: a layer of %d bytes: %v", reference, n, err)
		}
	}
	if config, err := got.ConfigFile(); err != nil || config.Architecture != want.GoArch() {
		t.Errorf("%s: %+v, %v", reference, config, err)
	}
}

func TestPush(t *testing.T) { pushes(t, registrytest.New(t)) }

func pushes(t *testing.T, host string) {
	image := make1(t, options(t))
	r, faults, n := repository(t, host+"/kata/kata-deploy")
	pushed := push1(t, r, image, Tag{Name: "a"}, Tag{Name: "b"})
	if !pushed.Changed || pushed.There != 0 || pushed.Sent < image.Size() || pushed.Reference != host+"/kata/kata-deploy@"+image.Digest() || !slices.Equal(pushed.Tags, []string{"a", "b"}) {
		t.Errorf("pushed %+v", pushed)
	}
	wantImage(t, host+"/kata/kata-deploy:a", image)
	wantImage(t, pushed.Reference, image)
	before := len(methods(faults, http.MethodPatch, http.MethodPut))
	again := push1(t, r, image, Tag{Name: "a"})
	if sent := methods(faults, http.MethodPatch, http.MethodPut)[before:]; again.Changed || again.Sent != 0 || again.There != pushed.Sent || len(sent) > 0 {
		t.Errorf("the second time pushed %+v and sent %q", again, sent)
	}
	if n.String() != "" {
		t.Errorf("noted %q", n)
	}
}

// uploads counts the bytes of requests, with their headers.
type uploads struct {
	base  http.RoundTripper
	bytes atomic.Int64
}

func (u *uploads) RoundTrip(request *http.Request) (*http.Response, error) {
	u.bytes.Add(500) // the line and the headers, and more than those
	if request.Body != nil {
		request = request.Clone(request.Context())
		body := request.Body
		request.Body = struct {
			io.Reader
			io.Closer
		}{readerFunc(func(p []byte) (int, error) {
			n, err := body.Read(p)
			u.bytes.Add(int64(n))
			return n, err
		}), body}
	}
	return u.base.RoundTrip(request)
}

// TestBytesOfOneChange is what a payload costs after one component of 20 MB changed:
// at most 21 MB go out.
func TestBytesOfOneChange(t *testing.T) {
	const mega = 1_000_000
	o := options(t)
	o.Components = []archive.Component{
		component(t, "kernel", 20*mega, 1), component(t, "qemu", 10*mega, 2), component(t, "ovmf", 5*mega, 3), component(t, "rootfs-image", 15*mega, 4),
	}
	host := registrytest.New(t)
	count := &uploads{base: http.DefaultTransport}
	with, _ := remotes(count, quick)
	r, err := OpenRepository(host+"/kata", with)
	if err != nil {
		t.Fatal(err)
	}
	push1(t, r, make1(t, o), Tag{Name: "one"})
	first := count.bytes.Swap(0)
	if first < 50*mega {
		t.Fatalf("only %d bytes were counted", first)
	}
	o.Components[0] = component(t, "kernel", 20*mega, 5)
	o.Labels.Revision = "def"
	o.Files[0].Content = []byte("v: 2\n")
	changed := make1(t, o)
	pushed := push1(t, r, changed, Tag{Name: "two"})
	second := count.bytes.Load()
	t.Logf("%d bytes for the first payload of 50 MB, %d bytes after a component of 20 MB changed", first, second)
	if second > 21*mega || second < 20*mega || pushed.Sent > second {
		t.Errorf("%d bytes went out (%+v), want 20 to 21 MB", second, pushed)
	}
	if got := must(remote.Image(must(name.ParseReference(host + "/kata:two")))); must(got.Digest()).String() != changed.Digest() {
		t.Error("the tag points to another image")
	}
}

// TestFaults has a registry that fails at first, and then recovers.
func TestFaults(t *testing.T) { faultsPass(t, registrytest.New) }

func faultsPass(t *testing.T, start func(testing.TB) string) {
	lost := func(request *http.Request, base http.RoundTripper) (*http.Response, error) {
		response, err := base.RoundTrip(request)
		if err == nil {
			_ = response.Body.Close()
		}
		return nil, io.ErrUnexpectedEOF
	}
	const uploads, blobs, manifests = "/blobs/uploads/", "/blobs/", "/manifests/"
	for name, rules := range map[string][]registrytest.Rule{
		"looking":         {{Method: "HEAD", Path: blobs, Nth: 2, Do: registrytest.Status(503)}},
		"beginning":       {{Method: "POST", Path: uploads, Nth: 1, Do: registrytest.Status(503, "Retry-After", "1")}},
		"sending":         {{Method: "PATCH", Path: uploads, Nth: 1, Do: registrytest.Status(503)}, {Method: "PATCH", Path: uploads, Nth: 2, Do: registrytest.Status(429, "Retry-After", "0")}},
		"reset":           {{Method: "PATCH", Path: uploads, Nth: 2, Do: registrytest.ResetBody(20_000)}},
		"reset at once":   {{Method: "PATCH", Path: uploads, Nth: 1, Do: registrytest.ResetBody(0)}},
		"twice":           {{Method: "PATCH", Path: uploads, Nth: 1, Do: registrytest.ResetBody(5000)}, {Method: "PATCH", Path: uploads, Nth: 1, Do: registrytest.ResetBody(29_000)}},
		"ending":          {{Method: "PUT", Path: uploads, Nth: 1, Do: registrytest.Status(502)}},
		"lost answer":     {{Method: "PATCH", Path: uploads, Nth: 1, Do: lost}},
		"lost end":        {{Method: "PUT", Path: uploads, Nth: 2, Do: lost}},
		"forgotten":       {{Method: "PATCH", Path: uploads, Nth: 1, Do: registrytest.Status(404)}},
		"manifest":        {{Method: "PUT", Path: manifests, Nth: 1, Do: registrytest.Status(500)}},
		"lost manifest":   {{Method: "PUT", Path: manifests, Nth: 1, Do: lost}},
		"looking for tag": {{Method: "GET", Path: manifests, Nth: 1, Do: registrytest.Status(503)}},
	} {
		t.Run(name, func(t *testing.T) {
			host := start(t)
			image := make1(t, options(t))
			r, faults, _ := repository(t, host+"/kata", rules...)
			push1(t, r, image, Tag{Name: "3.28.0", Fixed: true})
			wantImage(t, host+"/kata:3.28.0", image)
			for i := range rules {
				if faults.Met(i) == 0 {
					t.Errorf("rule %d met no request", i)
				}
			}
		})
	}
}

// TestFaultsForGood has a registry that does not recover.
func TestFaultsForGood(t *testing.T) {
	for name, c := range map[string]struct {
		rule registrytest.Rule
		want string
		// most is how many requests meet the rule.
		most int
	}{
		"unavailable": {registrytest.Rule{Method: "PATCH", Path: "uploads", Do: registrytest.Status(503)}, "503 Service Unavailable: fault 503", 12},
		"reset":       {registrytest.Rule{Method: "PATCH", Path: "uploads", Do: registrytest.ResetBody(100)}, "connection reset", 12},
		"no password": {registrytest.Rule{Path: "uploads", Do: registrytest.Status(401)}, "401 Unauthorized: fault 401; run docker login 127.0.0.1:", 3},
		"may not":     {registrytest.Rule{Method: "PATCH", Path: "uploads", Do: registrytest.Status(403)}, "403 Forbidden: fault 403; run docker login 127.0.0.1:", 3},
		"too large":   {registrytest.Rule{Method: "PATCH", Path: "uploads", Do: registrytest.Status(413)}, "413 Request Entity Too Large", 3},
		"no such":     {registrytest.Rule{Method: "POST", Path: "uploads", Do: registrytest.Status(404)}, "404 Not Found: fault 404", 3},
		"down":        {registrytest.Rule{Do: registrytest.Refuse()}, "connection refused", 20},
	} {
		t.Run(name, func(t *testing.T) {
			host := registrytest.New(t)
			image := make1(t, options(t))
			r, faults, _ := repository(t, host+"/kata", c.rule)
			_, err := r.Push(t.Context(), image, PushOptions{Tags: []Tag{{Name: "a"}}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "_state=") {
				t.Errorf("the error has the state of an upload: %v", err)
			}
			if met := faults.Met(0); met > c.most {
				t.Errorf("asked %d times, want at most %d", met, c.most)
			}
			if strings.Contains(strings.Join(methods(faults, http.MethodPut), " "), "/manifests/") {
				t.Error("a manifest was pushed, of layers that are not there")
			}
		})
	}
}

// TestInterrupted ends a push in the middle: the next one sends the rest.
func TestInterrupted(t *testing.T) { interruptedPush(t, registrytest.New(t)) }

func interruptedPush(t *testing.T, host string) {
	o := options(t)
	image := make1(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	with, _ := remotes(&registrytest.Faults{Rules: []registrytest.Rule{
		{Method: "PATCH", Path: "uploads", Nth: 2, Do: registrytest.StallBody(100, cancel)},
	}}, quick)
	with.Parallel = 1
	r, err := OpenRepository(host+"/kata", with)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Push(ctx, image, PushOptions{Tags: []Tag{{Name: "a"}}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the cancellation", err)
	}
	if _, err := remote.Head(must(name.ParseReference(host + "/kata:a"))); err == nil {
		t.Error("half an image has a tag")
	}
	r, _, _ = repository(t, host+"/kata")
	pushed := push1(t, r, image, Tag{Name: "a"})
	if first := image.Layers()[0].Size; pushed.There != first {
		t.Errorf("pushed %+v, want the layer of %d bytes to be there", pushed, first)
	}
	wantImage(t, host+"/kata:a", image)
}

// TestStalled has an upload that stops moving without an error.
func TestStalled(t *testing.T) {
	host := registrytest.New(t)
	image := make1(t, options(t))
	pace := quick
	pace.Stall = 50 * time.Millisecond
	faults := &registrytest.Faults{Rules: []registrytest.Rule{{Method: "PATCH", Path: "uploads", Nth: 1, Do: registrytest.StallBody(100, func() {})}}}
	with, n := remotes(faults, pace)
	r, err := OpenRepository(host+"/kata", with)
	if err != nil {
		t.Fatal(err)
	}
	push1(t, r, image, Tag{Name: "a"})
	wantImage(t, host+"/kata:a", image)
	if !strings.Contains(n.String(), "the transfer stalled") {
		t.Errorf("noted %q", n)
	}
}

// TestProgress follows the layers that are large enough to wait for.
func TestProgress(t *testing.T) {
	o := options(t)
	o.Components = append(o.Components, component(t, "ovmf", 3<<20, 5))
	with, n := remotes(nil, quick)
	r, err := OpenRepository(registrytest.New(t)+"/kata", with)
	if err != nil {
		t.Fatal(err)
	}
	push1(t, r, make1(t, o))
	if got := n.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "kata-static-ovmf.tar.zst  push") || !strings.HasSuffix(got, "pushed\n") {
		t.Errorf("progress %q", got)
	}
}

func TestOpenRepository(t *testing.T) {
	plain, _ := remotes(insecure{}, quick)
	for _, ref := range []string{"", "https://quay.io/kata", "quay.io/Kata", "quay.io/kata:tag", "quay.io/kata@sha256:" + strings.Repeat("a", 64)} {
		if _, err := OpenRepository(ref, plain); err == nil {
			t.Errorf("%q was taken", ref)
		}
	}
	if _, err := OpenRepository("quay.io/kata", RemoteOptions{Client: plain.Client, MountFrom: []string{"ghcr.io/kata"}}); err == nil {
		t.Error("layers of another registry cannot be mounted")
	}
	r, err := OpenRepository("registry.example.org:80/kata", plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Push(t.Context(), make1(t, options(t)), PushOptions{}); err == nil {
		t.Error("a push without TLS")
	}
	r, err = OpenRepository("10.0.0.1:5000/kata", plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Push(t.Context(), make1(t, options(t)), PushOptions{}); err == nil || strings.Contains(err.Error(), "200") {
		t.Errorf("a push without TLS: %v", err)
	}
}

// insecure is a network without TLS.
type insecure struct{}

func (insecure) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme == "https" {
		return nil, errors.New("no TLS here")
	}
	return registrytest.Status(200)(request, nil)
}
