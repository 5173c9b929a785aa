package release

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// repository opens one more, in a registry of its own.
func (r *jobRig) repository(t *testing.T) *payload.Repository {
	t.Helper()
	repository, err := payload.OpenRepository(registrytest.New(t)+"/kata-deploy", payload.RemoteOptions{
		Client: oci.NewClient(oci.Options{}), Report: r.Report,
	})
	if err != nil {
		t.Fatal(err)
	}
	return repository
}

// wantTags compares the versions that tags of a repository point to; "" is a missing
// tag.
func wantTags(t *testing.T, repository *payload.Repository, want map[string]string) {
	t.Helper()
	for tag, version := range want {
		if got, err := repository.Resolve(t.Context(), tag); err != nil || got.Version != version || (got.Digest == "") != (version == "") {
			t.Errorf("%s:%s is %+v, %v, want %q", repository, tag, got, err, version)
		}
	}
}

// TestJobPublishedByHand has a draft that somebody published, and then one more
// repository: both times only the tags are missing.
func TestJobPublishedByHand(t *testing.T) {
	r := newJobRig(t)
	r.Labels = payload.Labels{Version: "3.28.0", Revision: jobCommit}
	r.KeepDraft = true
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.server.Do(func() {
		r.server.Releases[0].Draft, r.server.Releases[0].Latest = false, true
		r.server.Tags["3.28.0"] = jobCommit
	})
	if again, err := r.Run(t.Context()); err != nil || !again.Finished {
		t.Errorf("as a draft there is nothing to do, and got %+v, %v", again, err)
	}
	r.KeepDraft = false
	for range 2 {
		changes := r.server.Changes()
		released, err := r.Run(t.Context())
		if err != nil || released.Finished || released.Draft || r.server.Changes() != changes {
			t.Fatalf("got %+v, %v, %d changes", released, err, r.server.Changes()-changes)
		}
		for _, repository := range r.Repositories {
			wantTags(t, repository, map[string]string{"3.28.0": "3.28.0", "latest": "3.28.0"})
		}
		if again, err := r.Run(t.Context()); err != nil || !again.Finished {
			t.Errorf("again: %+v, %v", again, err)
		}
		r.Repositories = append(r.Repositories, r.repository(t))
	}
}

// TestJobConflict has a tag of the release on another image, in the second of two
// repositories: the first keeps its own.
func TestJobConflict(t *testing.T) {
	r := newJobRig(t)
	r.Repositories = append(r.Repositories, r.repository(t))
	job := *r.Job
	other := jobRig{Job: &job, contents: r.contents}
	other.GitHub, other.Output, other.Repositories = nil, t.TempDir(), r.Repositories[1:]
	other.Labels = payload.Labels{Version: "3.28.0", Revision: "another"}
	early, err := r.plan(t)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Labels = payload.Labels{Version: "3.28.0", Revision: jobCommit}
	changes := r.server.Changes()
	r.refused(t, r.Repositories[1].String()+":3.28.0 is already sha256:")
	// A tag that was set after the plan was made is found before users see anything.
	if _, err := early.Execute(t.Context()); err == nil || !strings.Contains(err.Error(), r.Repositories[1].String()+":3.28.0 is sha256:") {
		t.Errorf("executing an early plan: %v", err)
	}
	wantTags(t, r.Repositories[0], map[string]string{"3.28.0": "", "latest": ""})
	if n := r.server.Changes() - changes; n != 0 {
		t.Errorf("GitHub was changed %d times", n)
	}
	planned, err := r.plan(t)
	if want := r.Repositories[1].String() + ":3.28.0-amd64 is already sha256:"; err != nil || len(planned.Problems) != 3 || !strings.HasPrefix(planned.Problems[0], want) || !strings.Contains(planned.Problems[0], "made from another commit (another)") {
		t.Errorf("planned %q, %v, want %s", planned.Problems, err, want)
	}
	r.Force = true
	if planned, err := r.plan(t); err != nil || len(planned.Problems) != 0 {
		t.Errorf("by force planned %q, %v", planned.Problems, err)
	}
	if _, err := r.Run(t.Context()); err != nil {
		t.Errorf("by force: %v", err)
	}
	// Tags that an earlier run set are not a problem.
	r.Force, r.GitHub = false, nil
	planned, err = r.plan(t)
	if last := planned.Images[len(planned.Images)-1]; err != nil || len(planned.Problems) != 0 || !slices.Equal(last.There, []string{"3.28.0"}) {
		t.Errorf("planned %q, %+v, %v", planned.Problems, last, err)
	}
}

// TestJobPlanRegistry has registries that do not answer, or deny access.
func TestJobPlanRegistry(t *testing.T) {
	for code, problems := range map[int]int{http.StatusForbidden: 0, http.StatusUnauthorized: 0, http.StatusBadRequest: 1} {
		r := newJobRig(t)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if strings.Contains(request.URL.Path, "/manifests/") {
				w.WriteHeader(code)
			}
		}))
		defer server.Close()
		closed, err := payload.OpenRepository(strings.TrimPrefix(server.URL, "http://")+"/kata-deploy", payload.RemoteOptions{Client: oci.NewClient(oci.Options{})})
		if err != nil {
			t.Fatal(err)
		}
		r.Repositories = []*payload.Repository{closed}
		planned, err := r.plan(t)
		if err != nil || len(planned.Problems) != problems || len(planned.Images) != 3 {
			t.Errorf("%d: %q, %v", code, planned.Problems, err)
		}
		if said := strings.Contains(r.said.String(), "are not visible"); said != (problems == 0) {
			t.Errorf("%d: said %q", code, &r.said)
		}
	}
}

// TestJobOlder: without GitHub, the registry decides which release is the latest.
func TestJobOlder(t *testing.T) {
	r := newJobRig(t)
	r.GitHub, r.Repositories = nil, []*payload.Repository{r.repository(t)}
	for _, version := range []string{"3.28.0", "3.27.1"} {
		r.Version, r.Labels.Version = version, version
		planned, err := r.plan(t)
		if tags := planned.Images[2].Tags; err != nil || slices.Contains(tags, "latest") != (version == "3.28.0") {
			t.Errorf("%s: planned the tags %v, %v", version, tags, err)
		}
		if _, err := r.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantTags(t, r.Repositories[0], map[string]string{version: version, "latest": "3.28.0"})
	}
	if !strings.Contains(r.said.String(), ":latest already points to the newer release 3.28.0: not moved") {
		t.Errorf("said %s", &r.said)
	}
}
