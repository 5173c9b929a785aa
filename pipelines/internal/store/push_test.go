package store

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// sent returns the requests that send blobs.
func sent(f *registrytest.Faults) []string {
	return slices.DeleteFunc(f.Requests(), func(request string) bool { return !strings.HasPrefix(request, "PUT ") })
}

func TestPushOnlyWhatIsMissing(t *testing.T) {
	host := registrytest.New(t)
	p := rich(t, "qemu")
	s, _ := open(t)
	first := put(t, s, p)
	r, faults, n := connect(t, host)
	for range 2 {
		if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := sent(faults); len(got) != 6 {
		t.Errorf("sent %q, want 5 blobs and a manifest, once", got)
	}
	if err := r.Push(t.Context(), p.Ref, s, []string{"latest-main-x86_64", "v1"}); err != nil {
		t.Fatal(err)
	}
	if got := sent(faults)[6:]; len(got) != 2 || !strings.HasSuffix(got[1], "/manifests/v1") {
		t.Errorf("sent %q, want two tags", got)
	}
	// Another recipe with the same outputs: only the differing blobs are sent.
	other := p
	other.Recipe = []byte(`{"other":1}`)
	other.Key = digest.FromBytes(other.Recipe).Encoded()
	second := put(t, s, other)
	if err := r.Push(t.Context(), other.Ref, s, []string{"v1"}); err != nil {
		t.Fatal(err)
	}
	if got := sent(faults)[8:]; len(got) != 3 {
		t.Errorf("sent %q, want the recipe, the manifest and a tag", got)
	}
	for tag, want := range map[string]Artifact{"latest-main-x86_64": first, "v1": second} {
		if got, err := r.Latest(t.Context(), "qemu", tag); err != nil || got.Manifest.Digest() != want.Manifest.Digest() {
			t.Errorf("%s is %s, %v; want %s", tag, got.Manifest.Digest(), err, want.Manifest.Digest())
		}
	}
	n.want(t)
}

// TestFirstPushWins has another build of a key in the registry already.
func TestFirstPushWins(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	first := pushed(t, host, p)
	p.Record = []byte(`{"base":"another"}`)
	s, _ := open(t)
	second := put(t, s, p)
	if first.Manifest.Digest() == second.Manifest.Digest() {
		t.Fatal("the builds do not differ")
	}
	r, faults, n := connect(t, host)
	if err := r.Push(t.Context(), p.Ref, s, []string{"latest-main-x86_64"}); err != nil {
		t.Fatal(err)
	}
	if got := sent(faults); len(got) != 1 {
		t.Errorf("sent %q, want only the moving tag", got)
	}
	for _, tag := range []string{p.Tag(), "latest-main-x86_64"} {
		if got, err := r.Latest(t.Context(), p.Asset, tag); err != nil || got.Manifest.Digest() != first.Manifest.Digest() {
			t.Errorf("%s is %s, %v; want the first build", tag, got.Manifest.Digest(), err)
		}
	}
	n.want(t, "already has another build of qemu under the key "+p.Key+": it stays ("+first.Manifest.Digest().String()+" there, "+second.Manifest.Digest().String()+" here)")
	// An empty store can still move tags, but nothing else.
	empty, _ := open(t)
	if err := r.Push(t.Context(), p.Ref, empty, []string{"v1"}); err != nil {
		t.Error(err)
	}
	missing := sample(t, "qemu", "x86_64", 2)
	if err := r.Push(t.Context(), missing.Ref, empty, []string{"v1"}); !IsNotFound(err) {
		t.Errorf("Push of nothing: %v", err)
	}
}

func TestTwoPushers(t *testing.T) { twoPushers(t, registrytest.New(t)) }

func twoPushers(t *testing.T, host string) {
	const pushers = 4
	p := rich(t, "qemu")
	var want Artifact
	stores := make([]*Local, pushers)
	for i := range stores {
		stores[i], _ = open(t)
		want = put(t, stores[i], p)
	}
	var group sync.WaitGroup
	for _, s := range stores {
		r, _, _ := connect(t, host)
		group.Go(func() {
			if err := r.Push(t.Context(), p.Ref, s, []string{"latest-main-x86_64"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	r, _, _ := connect(t, host)
	for _, tag := range []string{p.Tag(), "latest-main-x86_64"} {
		if got, err := r.Latest(t.Context(), p.Asset, tag); err != nil || got.Manifest.Digest() != want.Manifest.Digest() {
			t.Errorf("%s is %s, %v; want %s", tag, got.Manifest.Digest(), err, want.Manifest.Digest())
		}
	}
	if err := verified(t, r, p.Ref); err != nil {
		t.Error(err)
	}
	into, _ := open(t)
	if _, err := r.Pull(t.Context(), p.Ref, into); err != nil {
		t.Fatal(err)
	}
	same(t, into, want, p)
}

// TestTwoBuildsAtOnce pushes two builds of a key at the same time: in the end, the registry
// has one of them, whole.
func TestTwoBuildsAtOnce(t *testing.T) {
	host := registrytest.New(t)
	builds := map[digest.Digest]bool{}
	p := sample(t, "qemu", "x86_64", 1)
	var group sync.WaitGroup
	for _, base := range []string{"a", "b"} {
		p.Record = []byte(`{"base":"` + base + `"}`)
		s, _ := open(t)
		builds[put(t, s, p).Manifest.Digest()] = true
		r, _, _ := connect(t, host)
		group.Go(func() {
			if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	r, _, _ := connect(t, host)
	into, _ := open(t)
	got, err := r.Pull(t.Context(), p.Ref, into)
	if err != nil || !builds[got.Manifest.Digest()] {
		t.Errorf("Pull: %s, %v; want one of %v", got.Manifest.Digest(), err, builds)
	}
	sound(t, into)
}

// TestPushRepairs has a registry that has lost a blob of an artifact, or part of a blob.
func TestPushRepairs(t *testing.T) {
	for name, do := range map[string]registrytest.Action{"lost": registrytest.Status(404), "short": registrytest.Truncate(5)} {
		t.Run(name, func(t *testing.T) {
			host := registrytest.New(t)
			p := sample(t, "qemu", "x86_64", 1)
			want := pushed(t, host, p)
			s, _ := open(t)
			put(t, s, p)
			r, faults, n := connect(t, host, registrytest.Rule{Method: "HEAD", Path: want.Digest, Do: do})
			if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
				t.Fatal(err)
			}
			if got := sent(faults); len(got) != 2 {
				t.Errorf("sent %q, want the tarball and the manifest", got)
			}
			n.want(t, "/kata/cache lacks 1 of 3 blobs")
		})
	}
}

// TestPushReplacesDamage has a registry whose tarball turns out to be damaged: the next
// push sends it again.
func TestPushReplacesDamage(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	want := pushed(t, host, p)
	r, faults, _ := connect(t, host, registrytest.Rule{Method: "GET", Path: want.Digest, Nth: 1, Do: registrytest.Wrong(7)})
	s, _ := open(t)
	if _, err := r.Pull(t.Context(), p.Ref, s); !IsNotFound(err) {
		t.Fatalf("Pull: %v, want a miss", err)
	}
	put(t, s, p)
	for range 2 {
		if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
			t.Fatal(err)
		}
		if got := sent(faults); len(got) != 4 {
			t.Errorf("sent %q, want all of it, once", got)
		}
	}
	if _, err := r.Lookup(t.Context(), p.Ref); err != nil {
		t.Errorf("Lookup after the repair: %v", err)
	}
}

// TestPushOverDamageThatStays has a registry that accepts a blob, but keeps the damaged one
// that it had: the push fails, and no tag moves. After a failed upload, a retry must not
// take the damaged blob for the sent one.
func TestPushOverDamageThatStays(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	want := pushed(t, host, p)
	r, faults, _ := connect(t, host,
		registrytest.Rule{Method: "GET", Path: want.Digest, Do: registrytest.Wrong(7)},
		registrytest.Rule{Method: "PUT", Path: "/blobs/", Nth: 3, Do: registrytest.Status(503, "Retry-After", "0")})
	s, _ := open(t)
	if _, err := r.Pull(t.Context(), p.Ref, s); !IsNotFound(err) {
		t.Fatalf("Pull: %v, want a miss", err)
	}
	put(t, s, p)
	err := r.Push(t.Context(), p.Ref, s, []string{"v1"})
	if err == nil || IsNotFound(err) || !strings.Contains(err.Error(), "delete that blob") || !strings.Contains(err.Error(), want.Digest) {
		t.Errorf("Push: %v, want one that names the blob to delete", err)
	}
	if got := sent(faults); len(got) != 4 || strings.Contains(strings.Join(got, ""), "/manifests/") {
		t.Errorf("sent %q, want three blobs, one of them twice", got)
	}
	if _, err := r.Latest(t.Context(), "qemu", "v1"); !IsNotFound(err) {
		t.Errorf("Latest: %v, want a miss", err)
	}
}

func TestPushFaults(t *testing.T) { pushThroughFaults(t, registrytest.New) }

func pushThroughFaults(t *testing.T, host func(testing.TB) string) {
	p := rich(t, "qemu")
	upload := "/blobs/uploads/"
	for _, test := range []struct {
		name  string
		rule  registrytest.Rule
		fails string
		notes []string
	}{
		{"503 with Retry-After", registrytest.Rule{Method: "PUT", Path: upload, Nth: 1, Do: registrytest.Status(503, "Retry-After", "0")}, "", nil},
		{"429 of the upload", registrytest.Rule{Method: "POST", Path: upload, Nth: 1, Do: registrytest.Status(429, "Retry-After", "0")}, "", nil},
		{"429 of the manifest", registrytest.Rule{Method: "PUT", Path: "/manifests/", Nth: 1, Do: registrytest.Status(429)}, "", nil},
		{"reset", registrytest.Rule{Method: "PATCH", Path: upload, Nth: 1, Do: registrytest.ResetBody(10)}, "", []string{"connection reset by peer): trying again"}},
		{"upload forgotten", registrytest.Rule{Method: "PUT", Path: upload, Nth: 2, Do: registrytest.Status(404)}, "", []string{"(404 Not Found: fault 404): trying again"}},
		{"400 of a tag", registrytest.Rule{Method: "PUT", Path: "/manifests/", Nth: 2, Do: registrytest.Status(400)}, "", []string{"pushing v1: HOST/kata/cache/qemu (400 Bad Request: fault 400): trying again"}},
		{"400 forever", registrytest.Rule{Method: "PUT", Path: upload, Do: registrytest.Status(400)}, "400 Bad Request", []string{"trying again", "trying again", "trying again"}},
		{"503 forever", registrytest.Rule{Method: "PUT", Path: upload, Do: registrytest.Status(503)}, "503 Service Unavailable", []string{"trying again", "trying again", "trying again"}},
		{"401", registrytest.Rule{Do: registrytest.Status(401)}, "401 Unauthorized: fault 401: set ARTEFACT_REGISTRY_USERNAME and ARTEFACT_REGISTRY_PASSWORD, or run docker login HOST", nil},
		{"401 of the upload", registrytest.Rule{Method: "POST", Do: registrytest.Status(401)}, "docker login HOST", nil},
		{"403 of the manifest", registrytest.Rule{Method: "PUT", Path: "/manifests/", Do: registrytest.Status(403)}, "HOST/kata/cache/qemu: 403 Forbidden", nil},
		{"down", registrytest.Rule{Do: registrytest.Refuse()}, "connection refused", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("DOCKER_CONFIG", t.TempDir())
			host := host(t)
			s, local := open(t)
			want := put(t, s, p)
			r, _, n := connect(t, host, test.rule)
			err := r.Push(t.Context(), p.Ref, s, []string{"v1"})
			var noted []string
			for _, note := range test.notes {
				noted = append(noted, strings.ReplaceAll(note, "HOST", host))
			}
			n.want(t, noted...)
			after, _, _ := connect(t, host)
			if test.fails == "" && err != nil {
				t.Errorf("Push: %v", err)
			}
			if test.fails != "" {
				if wanted := strings.ReplaceAll(test.fails, "HOST", host); err == nil || IsNotFound(err) || !strings.Contains(err.Error(), wanted) {
					t.Errorf("Push: %v, want %q", err, wanted)
				}
				if _, err := after.Lookup(t.Context(), p.Ref); !IsNotFound(err) {
					t.Errorf("Lookup after a failed Push: %v, want a miss", err)
				}
				if err := after.Push(t.Context(), p.Ref, s, []string{"v1"}); err != nil {
					t.Errorf("the next Push: %v", err)
				}
			}
			if err := verified(t, after, p.Ref); err != nil {
				t.Errorf("Verify: %v", err)
			}
			if got, err := after.Latest(t.Context(), p.Asset, "v1"); err != nil || got.Manifest.Digest() != want.Manifest.Digest() {
				t.Errorf("v1 is %s, %v", got.Manifest.Digest(), err)
			}
			sound(t, s)
			local.want(t)
		})
	}
}

// TestPushOfDamage has a damaged tarball in the store.
func TestPushOfDamage(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	s, n := open(t)
	artifact := put(t, s, p)
	tarball, err := os.ReadFile(p.Tarball)
	if err != nil {
		t.Fatal(err)
	}
	tarball[5] ^= 1
	spoil(t, s.layout("qemu"), artifact.Digest, tarball)
	r, _, _ := connect(t, host)
	if err := r.Push(t.Context(), p.Ref, s, nil); !IsNotFound(err) || !strings.Contains(err.Error(), "hashes to") {
		t.Errorf("Push: %v, want the damage", err)
	}
	n.want(t, "hashes to")
	if _, err := r.Lookup(t.Context(), p.Ref); !IsNotFound(err) {
		t.Errorf("Lookup: %v, want a miss", err)
	}
	sound(t, s)
	put(t, s, p)
	if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
		t.Error(err)
	}
}

// TestProgress makes sure that transfers of tarballs are reported, each with its end.
func TestProgress(t *testing.T) {
	host := registrytest.New(t)
	p, err := withTarball(numbered(0), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, _ := open(t)
	put(t, s, p)
	r, _, n := connect(t, host)
	if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
		t.Fatal(err)
	}
	into, _ := open(t)
	if _, err := r.Pull(t.Context(), p.Ref, into); err != nil {
		t.Fatal(err)
	}
	if err := verified(t, r, p.Ref); err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`qemu +(push|pull|verify) .*(pushed|pulled|verified)`).FindAllStringSubmatch(n.buffer.String(), -1)
	var reported []string
	for _, line := range lines {
		reported = append(reported, line[1]+" "+line[2])
	}
	if diff := cmp.Diff([]string{"push pushed", "pull pulled", "verify verified"}, reported); diff != "" {
		t.Errorf("reported (-want +got)\n%s", diff)
	}
}

// TestImmutableTags has a registry that refuses to move a tag, or to set it again, as
// ECR does: a repeated push passes; one of another artifact fails, with the reason once.
func TestImmutableTags(t *testing.T) {
	behind, refused := registrytest.Handler(false), 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPut && strings.Contains(request.URL.Path, "/manifests/") {
			probe := httptest.NewRecorder()
			behind.ServeHTTP(probe, httptest.NewRequestWithContext(request.Context(), http.MethodHead, request.URL.Path, nil))
			if probe.Code == http.StatusOK {
				refused++
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"errors":[{"code":"TAG_INVALID","message":"no","detail":{"message":"the tag is immutable"}}]}`)
				return
			}
		}
		behind.ServeHTTP(w, request)
	}))
	defer server.Close()
	r, _, n := connect(t, strings.TrimPrefix(server.URL, "http://"))
	s, _ := open(t)
	p, other := sample(t, "qemu", "x86_64", 1), sample(t, "qemu", "x86_64", 2)
	if err := s.Attach(t.Context(), put(t, s, p), Proof, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	put(t, s, other)
	for range 2 {
		if err := r.Push(t.Context(), p.Ref, s, []string{"v1"}); err != nil {
			t.Errorf("Push: %v", err)
		}
	}
	err := r.Push(t.Context(), other.Ref, s, []string{"v1"})
	if err == nil || !strings.Contains(err.Error(), "pushing v1: ") || !strings.Contains(err.Error(), "no (the tag is immutable)") || refused != 1 {
		t.Errorf("%d refusals, Push of another: %v", refused, err)
	}
	n.want(t)
}
