package release

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github/githubtest"
)

// TestJobNext compares the next release with the one before.
func TestJobNext(t *testing.T) {
	r := newJobRig(t)
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Version, r.Versions, r.Limit = "3.29.0", pinsOf(t, "before.yaml"), 1000
	r.contents["two"]["opt/kata/bin/two"] = strings.Repeat("more of it ", 1000) + time.Now().String()
	_, err := r.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "must stay below 1000") || !strings.Contains(err.Error(), "\nsince 3.28.0 with ") {
		t.Errorf("got %v, want what grew since 3.28.0", err)
	}
	r.Limit = 0
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if body := r.server.Release("3.29.0").Body; !strings.Contains(body, "| `assets.kernel.version` | `v6.18.15` | `v6.12.47` |") {
		t.Errorf("the notes lack the change of a pin: %s", body)
	}
	// A report says the same whichever release was there before.
	if report := r.server.Release("3.29.0").Asset("kata-static-3.29.0-amd64.report.json"); bytes.Contains(report.Content, []byte(`"change"`)) {
		t.Errorf("the report compares: %s", report.Content)
	}
	// A fix of the older release does not become the latest.
	r.Version = "3.28.1"
	released, err := r.Run(t.Context())
	if err != nil || r.server.Release("3.28.1").Latest || !r.server.Release("3.29.0").Latest {
		t.Errorf("3.28.1: %v, the latest: %v", err, r.server.Release("3.28.1").Latest)
	}
	if tags := released.Images[len(released.Images)-1].Tags; slices.Contains(tags, "latest") || !slices.Contains(tags, "3.28.1") {
		t.Errorf("the index of 3.28.1 has the tags %v", tags)
	}
	// It says what changed since the one that it fixes, whatever else there is.
	for _, other := range []githubtest.Release{
		{Tag: "3.28.2", Draft: true}, {Tag: "3.28.2-rc0", Prerelease: true}, {Tag: "nightly"}, {Tag: "3.9.0"},
	} {
		other.Published = time.Now()
		r.server.AddRelease(other)
	}
	r.Version = "3.28.3"
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for version, since := range map[string]string{"3.28.1": "3.28.0", "3.28.3": "3.28.1"} {
		if body := r.server.Release(version).Body; !strings.Contains(body, "### Changes in versions.yaml since "+since+"\n") {
			t.Errorf("the notes of %s do not compare with %s: %s", version, since, body)
		}
	}
}

// TestJobWithoutPrevious cannot download files of the previous release: nothing depends
// on them.
func TestJobWithoutPrevious(t *testing.T) {
	r := newJobRig(t)
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Version = "3.29.0"
	r.server.Faults = []*githubtest.Fault{{Request: "^GET .*/releases/assets/", Times: 1000, Status: 503}}
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if body := r.server.Release("3.29.0").Body; !strings.Contains(body, "Not known: kata-containers-3.28.0-versions.yaml of that release cannot be read.") {
		t.Errorf("the notes are %s", body)
	}
	if !strings.Contains(r.said.String(), "the growth since 3.28.0 is unknown: downloading ") {
		t.Errorf("said %s", &r.said)
	}
}
