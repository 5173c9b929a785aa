package store

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// pullFault is a fault during a pull.
type pullFault struct {
	name  string
	rules []registrytest.Rule
	// miss is true if the artifact must be built; otherwise the pull succeeds.
	miss bool
	// notes are parts of the notes, one of each.
	notes []string
	// ranges are the requested ranges of the tarball, in order.
	ranges []string
}

// rest returns the range of a sample's tarball from an offset to its end.
func rest(from string) string { return "bytes=" + from + "-199999" }

func pullFaults(tarball digest.Digest) []pullFault {
	blob := "/blobs/" + tarball.String() + "$"
	once := func(do registrytest.Action) []registrytest.Rule {
		return []registrytest.Rule{{Method: "GET", Path: blob, Nth: 1, Do: do}}
	}
	always := func(do registrytest.Action) []registrytest.Rule {
		return []registrytest.Rule{{Method: "GET", Path: blob, Do: do}}
	}
	return []pullFault{
		{"503 with Retry-After", once(registrytest.Status(503, "Retry-After", "0")), false, nil, []string{"", ""}},
		{"429 with Retry-After", once(registrytest.Status(429, "Retry-After", "Sun, 01 Mar 2026 12:00:30 GMT")), false, nil, []string{"", ""}},
		{"503 of the manifest", []registrytest.Rule{{Path: "/manifests/", Nth: 1, Do: registrytest.Status(503)}}, false, nil, []string{""}},
		{"503 forever", always(registrytest.Status(503)), true, []string{"503 Service Unavailable: fault 503: continuing without"}, []string{"", "", "", ""}},
		{"reset in the blob", once(registrytest.Reset(70000)), false, []string{"broke off after 70000 of 200000 bytes (connection reset by peer): resuming"}, []string{"", rest("70000")}},
		{"reset twice", []registrytest.Rule{
			{Method: "GET", Path: blob, Nth: 1, Do: registrytest.Reset(70000)},
			{Method: "GET", Path: blob, Nth: 1, Do: registrytest.Reset(70001)},
		}, false, []string{"after 70000 of", "after 140001 of"}, []string{"", rest("70000"), rest("140001")}},
		{"ends early", once(registrytest.End(123)), false, []string{"broke off after 123 of"}, []string{"", rest("123")}},
		{"stalls", once(registrytest.Stall(5000, nil)), false, []string{"after 5000 of 200000 bytes (the transfer stalled: 0 bytes in 0.3s)"}, []string{"", rest("5000")}},
		{"reset, no ranges", []registrytest.Rule{
			{Method: "GET", Path: blob, Nth: 1, Do: registrytest.Reset(70000)},
			{Method: "GET", Path: blob, Nth: 1, Do: registrytest.NoRange()},
		}, false, []string{"broke off"}, []string{"", rest("70000")}},
		{"reset, then 416", []registrytest.Rule{
			{Method: "GET", Path: blob, Nth: 1, Do: registrytest.Reset(70000)},
			{Method: "GET", Path: blob, Nth: 1, Do: registrytest.Status(416)},
		}, false, []string{"after 70000 of", "after 0 of 200000 bytes (416 "}, []string{"", rest("70000"), ""}},
		{"reset forever", always(registrytest.Reset(10)), true,
			[]string{"after 10 of", "after 20 of", "after 30 of", "continuing without"}, []string{"", rest("10"), rest("20"), rest("30")}},
		{"down after a reset", []registrytest.Rule{
			{Method: "GET", Path: blob, Nth: 1, Do: registrytest.Reset(10)}, {Method: "GET", Path: blob, Do: registrytest.Refuse()},
		}, true, []string{"after 10 of", "connection refused: continuing without"}, []string{"", rest("10"), rest("10"), rest("10"), rest("10")}},
		{"wrong byte", once(registrytest.Wrong(100000)), true, []string{"in the registry HOST/kata/cache: it has a blob of 200000 bytes that hashes to"}, []string{""}},
		{"wrong byte after a reset", []registrytest.Rule{
			{Method: "GET", Path: blob, Nth: 1, Do: registrytest.Reset(70000)},
			{Method: "GET", Path: blob, Nth: 1, Do: registrytest.Wrong(9)},
		}, false, []string{"broke off"}, []string{"", rest("70000"), ""}},
		{"truncated", always(registrytest.Truncate(1000)), true, []string{"in the registry HOST/kata/cache: it has the blob " + tarball.String() + " with 1000 bytes, want 200000"}, []string{""}},
		{"lost", always(registrytest.Status(404)), true, []string{"lacks the blob"}, []string{""}},
		{"401 of the blob", always(registrytest.Status(401, "WWW-Authenticate", `Basic realm="x"`)), true, []string{"401 Unauthorized: set ARTEFACT_REGISTRY_USERNAME"}, []string{""}},
		{"wrong record", []registrytest.Rule{{Method: "GET", Path: "/blobs/sha256:b8796abee", Do: registrytest.Wrong(3)}}, true, []string{"it has a blob of 21 bytes"}, nil},
	}
}

func TestPullFaults(t *testing.T) { pullThroughFaults(t, registrytest.New(t)) }

func pullThroughFaults(t *testing.T, host string) {
	p := sample(t, "qemu", "x86_64", 1)
	want := pushed(t, host, p)
	for _, test := range pullFaults(digest.Digest(want.Digest)) {
		t.Run(test.name, func(t *testing.T) {
			r, faults, n := connect(t, host, test.rules...)
			s, local := open(t)
			tiered := &Tiered{Local: s, Registry: r}
			found, where, err := tiered.Find(t.Context(), p.Ref)
			if err != nil || where != InRegistry {
				t.Fatalf("Find: %q, %v", where, err)
			}
			out := filepath.Join(t.TempDir(), "out")
			changed, err := tiered.Export(t.Context(), found, "", out)
			switch {
			case test.miss:
				if !IsNotFound(err) {
					t.Errorf("Export: %t, %v; want a miss", changed, err)
				}
				if _, err := os.Stat(out); err == nil {
					t.Error("there is an output")
				}
				before := len(faults.Requests())
				if _, err := tiered.Get(t.Context(), p.Ref); !IsNotFound(err) {
					t.Errorf("Get after the fault: %v; want a miss", err)
				}
				if _, err := tiered.Export(t.Context(), found, "", out); !IsNotFound(err) {
					t.Errorf("Export after the fault: %v; want a miss", err)
				}
				if after := len(faults.Requests()); after != before {
					t.Errorf("%d more requests after the fault", after-before)
				}
				wantMiss(t, s, p.Ref)
			case err != nil || !changed:
				t.Errorf("Export: %t, %v", changed, err)
			default:
				same(t, s, want, p)
			}
			sound(t, s)
			for i := range test.notes {
				test.notes[i] = strings.ReplaceAll(test.notes[i], "HOST", host)
			}
			n.want(t, test.notes...)
			var ranges []string
			for _, request := range faults.Requests() {
				if prefix := "GET /v2/kata/cache/qemu/blobs/" + want.Digest; strings.HasPrefix(request, prefix) {
					ranges = append(ranges, strings.TrimPrefix(strings.TrimPrefix(request, prefix), " "))
				}
			}
			if diff := cmp.Diff(test.ranges, ranges); diff != "" {
				t.Errorf("asked for (-want +got)\n%s", diff)
			}
			// The next run, without faults.
			r, _, n = connect(t, host)
			if got, err := r.Pull(t.Context(), p.Ref, s); err != nil || !cmp.Equal(want, got) {
				t.Errorf("the next Pull: %v\n%s", err, cmp.Diff(want, got))
			}
			same(t, s, want, p)
			n.want(t)
			local.want(t)
			if entries, err := os.ReadDir(partialPath(s.layout("qemu"))); err != nil || len(entries) > 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

// lookupFault is a fault during a lookup.
type lookupFault struct {
	name string
	do   registrytest.Action
	// requests is the number of requests of two lookups.
	requests int
	note     string
}

// TestLookupFaults has a registry that fails: that is reported once, lookups are misses,
// and the registry is not used again.
func TestLookupFaults(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	pushed(t, host, p)
	for _, test := range []lookupFault{
		{"down", registrytest.Refuse(), 2, "connection refused: continuing without the registry"},
		{"503", registrytest.Status(503), 4, "503 Service Unavailable: fault 503: continuing without the registry"},
		{"500 and Retry-After", registrytest.Status(500, "Retry-After", "86400"), 1, "500 Internal Server Error"},
		{"401", registrytest.Status(401), 2, "denied access (401 Unauthorized: fault 401): continuing without it; set ARTEFACT_REGISTRY_USERNAME"},
		{"401 with basic", registrytest.Status(401, "WWW-Authenticate", `Basic realm="x"`), 2, "(401 Unauthorized): continuing without"},
		{"403", registrytest.Status(403), 2, "(403 Forbidden"},
		{"400", registrytest.Status(400), 1, "400 Bad Request: fault 400: continuing without"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("DOCKER_CONFIG", t.TempDir())
			r, faults, n := connect(t, host, registrytest.Rule{Do: test.do})
			s, _ := open(t)
			tiered := &Tiered{Local: s, Registry: r}
			for range 2 {
				if _, err := tiered.Get(t.Context(), p.Ref); !IsNotFound(err) {
					t.Errorf("Get: %v, want a miss", err)
				}
			}
			n.want(t, test.note)
			if got := len(faults.Requests()); got != test.requests {
				t.Errorf("%d requests, want %d: %q", got, test.requests, faults.Requests())
			}
			if _, err := r.Latest(t.Context(), p.Asset, "latest-main-x86_64"); !IsNotFound(err) {
				t.Errorf("Latest: %v, want a miss", err)
			}
			n.want(t, test.note)
			put(t, s, p)
			if _, where, err := tiered.Find(t.Context(), p.Ref); err != nil || where != InLocal {
				t.Errorf("Find after the build: %q, %v", where, err)
			}
			sound(t, s)
		})
	}
}

// TestOneFailedLookup guards against giving up a registry, and building everything again,
// after one failed connection.
func TestOneFailedLookup(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	pushed(t, host, p)
	for name, do := range map[string]registrytest.Action{"refused": registrytest.Refuse(), "503": registrytest.Status(503), "stalls": registrytest.Stall(1, nil)} {
		r, _, n := connect(t, host, registrytest.Rule{Path: "/manifests/", Nth: 1, Do: do})
		s, _ := open(t)
		if _, where, err := (&Tiered{Local: s, Registry: r}).Find(t.Context(), p.Ref); err != nil || where != InRegistry {
			t.Errorf("%s: Find: %q, %v", name, where, err)
		}
		n.want(t)
	}
}

// TestRetryAfterIsKept measures that a client waits for as long as a registry asks it to,
// but within a limit, and no longer than the context.
func TestRetryAfterIsKept(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	pushed(t, host, p)
	for _, test := range []struct {
		name, after string
		patience    time.Duration
		least, most time.Duration
	}{
		{"seconds", "1", time.Minute, time.Second, 3 * time.Second},
		{"too long", "3600", time.Minute, 0, time.Second},
		{"date", time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat), time.Minute, time.Second, 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pace := quick
			pace.Patience = test.patience
			r, _, _ := connectAt(t, host, pace, registrytest.Rule{Path: "/manifests/", Nth: 1, Do: registrytest.Status(429, "Retry-After", test.after)})
			start := time.Now()
			if _, err := r.Lookup(t.Context(), p.Ref); (err != nil) != (test.name == "too long") {
				t.Error(err)
			}
			if took := time.Since(start); took < test.least || took > test.most {
				t.Errorf("took %s, want %s to %s", took, test.least, test.most)
			}
		})
	}
}

// TestRetryAfterIsKeptByPush is the same for uploads.
func TestRetryAfterIsKeptByPush(t *testing.T) {
	t.Parallel()
	r, _, _ := connect(t, registrytest.New(t), registrytest.Rule{Method: "PUT", Nth: 1, Do: registrytest.Status(503, "Retry-After", "1")})
	s, _ := open(t)
	p := sample(t, "qemu", "x86_64", 1)
	put(t, s, p)
	start := time.Now()
	if err := r.Push(t.Context(), p.Ref, s, nil); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("took %s, want a second", took)
	}
}

// TestBadPartial has a partial blob with wrong content, as after a power cut: the pull
// starts again.
func TestBadPartial(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	want := pushed(t, host, p)
	for _, size := range []int{1, 1000, 200_000, 200_001} {
		r, _, n := connect(t, host)
		s, _ := open(t)
		partial := filepath.Join(partialPath(s.layout("qemu")), digest.Digest(want.Digest).Encoded())
		if err := os.MkdirAll(filepath.Dir(partial), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, partial, strings.Repeat("x", size))
		if _, err := r.Pull(t.Context(), p.Ref, s); err != nil {
			t.Errorf("%d bytes: %v", size, err)
			continue
		}
		same(t, s, want, p)
		n.want(t)
	}
}

// TestSecretsAreNotTold has a registry that redirects to a signed URL, which fails, and one
// with a password.
func TestSecretsAreNotTold(t *testing.T) {
	host := registrytest.New(t)
	p := sample(t, "qemu", "x86_64", 1)
	pushed(t, host, p)
	signed := registrytest.Status(307, "Location", "http://127.0.0.1:1/blob?signature=s3cret")
	for name, rules := range map[string][]registrytest.Rule{
		"refused":  {{Path: "/v2/.*/blobs/", Do: signed}},
		"answered": {{Path: "/v2/.*/blobs/", Do: signed}, {Path: "^/blob$", Do: registrytest.Status(403)}},
		"lookup":   {{Path: "/v2/.*/manifests/", Do: signed}},
		"no digest": {{Path: "/v2/.*/manifests/", Do: signed}, {Path: "^/blob$", Do: registrytest.Status(200,
			"Content-Type", "application/vnd.oci.image.manifest.v1+json", "Docker-Content-Digest", "sha256:bad")}},
		"HTML": {{Path: "/v2/.*/manifests/", Do: signed}, {Path: "^/blob$", Do: registrytest.Status(200, "Content-Type", "text/html; x")}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNotes()
			r, err := OpenRegistry(host+"/kata/cache", oci.Options{
				Username: "kata", Password: "s3cret", Report: n.report,
				Transport: &registrytest.Faults{Rules: rules}, Pace: quick,
			})
			if err != nil {
				t.Fatal(err)
			}
			into, _ := open(t)
			_, err = r.Pull(t.Context(), p.Ref, into)
			if !isFailure(err) && !IsDamage(err) {
				t.Fatalf("Pull: %v, want a failure of the registry", err)
			}
			for _, text := range append(n.texts(), err.Error()) {
				if strings.Contains(text, "s3cret") || strings.Contains(text, "signature") {
					t.Errorf("noted: %s", text)
				}
			}
			sound(t, into)
		})
	}
}

// A partial blob that is a symbolic link does not overwrite the linked file.
func TestPartialThatIsALink(t *testing.T) {
	host := registrytest.New(t)
	p := rich(t, "qemu")
	want := pushed(t, host, p)
	r, _, _ := connect(t, host)
	s, _ := open(t)
	victim := filepath.Join(t.TempDir(), "victim")
	write(t, victim, "mine")
	partial := filepath.Join(partialPath(s.layout("qemu")), digest.Digest(want.Digest).Encoded())
	if err := errors.Join(os.MkdirAll(filepath.Dir(partial), 0o755), os.Symlink(victim, partial)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Pull(t.Context(), p.Ref, s); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "mine" {
		t.Errorf("the file behind the link has %q, %v", data, err)
	}
}
