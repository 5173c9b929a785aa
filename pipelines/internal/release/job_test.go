package release

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/oci"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github/githubtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/web"
)

const jobCommit = "cccccccccccccccccccccccccccccccccccccccc"

// jobRig is a Job with a GitHub and a registry of its own. Its assets are "one" and
// "two" on x86_64, and "one" on aarch64.
type jobRig struct {
	*Job
	server *githubtest.Server
	said   bytes.Buffer
	// contents are those of the assets' files by path, which a test may change.
	contents map[string]map[string]string
	// unproven are the assets without a proof, planned is the last plan.
	unproven []string
	planned  *Plan
}

func newJobRig(t *testing.T) *jobRig {
	t.Helper()
	r := &jobRig{server: githubtest.New(t, "kata-containers/kata-containers"), contents: map[string]map[string]string{
		"one": {"opt/kata/bin/one": strings.Repeat("one", 1000)}, "two": {"opt/kata/bin/two": strings.Repeat("two", 1000)},
	}}
	r.server.Commits = []string{jobCommit}
	client, err := github.New(github.Options{API: r.server.URL(), Repository: r.server.Repository, Token: githubtest.Token, Pace: web.Pace{First: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	repository, err := payload.OpenRepository(registrytest.New(t)+"/kata-deploy", payload.RemoteOptions{Client: oci.NewClient(oci.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	report := progress.New(&r.said, progress.Plain, nil)
	t.Cleanup(report.Close)
	pins := pinsOf(t, "after.yaml")
	arches := []catalog.Arch{catalog.X86_64, catalog.AArch64}
	set := catalog.Set{Name: "kata-static", Components: map[catalog.Arch][]string{catalog.X86_64: {"one", "two"}, catalog.AArch64: {"one"}}}
	r.Job = &Job{
		Options: Options{Output: t.TempDir(), Repositories: []*payload.Repository{repository}, GitHub: client},
		Version: "3.28.0", Commit: jobCommit, Arches: arches, Versions: pins, Cache: t.TempDir(),
		Catalog: &catalog.Catalog{Sets: []catalog.Set{set}, Assets: []catalog.Asset{
			{Name: "one", Arches: arches, Pins: map[string]string{"V": "assets.kernel.version"}, Budget: 1, Pos: "one.yaml:1"}, {Name: "two", Arches: arches},
		}},
		Report: report,
	}
	r.Store = &store.Tiered{Local: store.Open(t.TempDir(), nil)}
	for _, arch := range arches {
		r.Images = append(r.Images, payload.Options{GoArch: arch.GoArch()})
	}
	return r
}

// fill puts the assets into the store, each with a proof.
func (r *jobRig) fill(ctx context.Context) error {
	r.Components, r.Labels.Version, r.Labels.Revision = nil, r.Version, cmp.Or(r.Labels.Revision, jobCommit)
	for _, arch := range r.Arches {
		for _, name := range Names(r.Catalog, arch) {
			c, err := r.put(ctx, name, arch)
			if err != nil {
				return err
			}
			r.Components = append(r.Components, c)
		}
	}
	return Prove(ctx, r.Store, r.Components)
}

// put packs an asset and puts it into the store.
func (r *jobRig) put(ctx context.Context, name string, arch catalog.Arch) (Component, error) {
	return r.putAs(ctx, name, arch, "")
}

// putAs is put with a recipe that differs by a text.
func (r *jobRig) putAs(ctx context.Context, name string, arch catalog.Arch, text string) (Component, error) {
	dir, err := os.MkdirTemp(r.Cache, "pack")
	if err != nil {
		return Component{}, err
	}
	defer os.RemoveAll(dir)
	for path, content := range r.contents[name] {
		full := filepath.Join(dir, "tree", path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(content), 0o644)); err != nil {
			return Component{}, err
		}
	}
	tarball := filepath.Join(dir, "tarball")
	if _, err := archive.Pack(ctx, filepath.Join(dir, "tree"), tarball, archive.Options{Level: 1}); err != nil {
		return Component{}, err
	}
	recipe := []byte(fmt.Sprintf(`{"asset":%q,"arch":%q,"text":%q}`, name, arch, text))
	ref := store.Ref{Asset: name, Arch: string(arch), Key: fmt.Sprintf("%x", sha256.Sum256(recipe))}
	artifact, err := r.Store.Put(ctx, store.Put{Ref: ref, Tarball: tarball, Recipe: recipe, Record: []byte("{}")})
	if err != nil {
		return Component{}, err
	}
	asset, err := r.Catalog.Find(name, arch)
	if err != nil {
		return Component{}, err
	}
	c := Component{Asset: name, Arch: arch, Version: versionOf(r.Versions, asset), State: build.Hit, Where: store.InLocal, Key: ref.Key, Digest: artifact.Digest, Size: artifact.Size, Artifact: artifact}
	if slices.Contains(r.unproven, name) {
		return c, nil
	}
	proof, err := report.Proof{
		Version: report.ProofVersion, Subject: report.Subject{Asset: name, Arch: string(arch), Key: ref.Key, Tarball: artifact.Digest},
		Checks: []report.Check{{Name: "boot", Verdict: report.Passed}},
	}.Encode()
	if err != nil {
		return Component{}, err
	}
	return c, r.Store.Attach(ctx, artifact, store.Proof, proof)
}

// Run fills the store, plans the job and executes the plan.
func (r *jobRig) Run(ctx context.Context) (Released, error) {
	if err := r.fill(ctx); err != nil {
		return Released{}, err
	}
	var err error
	if r.planned, err = r.Plan(ctx); err != nil {
		return Released{}, err
	}
	return r.planned.Execute(ctx)
}

// plan fills the store and plans the job.
func (r *jobRig) plan(t *testing.T) (*Plan, error) {
	t.Helper()
	if err := r.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r.Plan(t.Context())
}

// refused runs the job, which must fail with a text and change nothing that others
// see: no page, no tag of a version.
func (r *jobRig) refused(t *testing.T, wrong string) {
	t.Helper()
	_, err := r.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), wrong) {
		t.Fatalf("got %v, want %q", err, wrong)
	}
	if release := r.server.Release(r.Version); release != nil && !release.Draft {
		t.Error("it was published nevertheless")
	}
	if _, err := r.Repositories[0].PushIndex(t.Context(), payload.IndexOptions{Images: []payload.IndexImage{
		{GoArch: "amd64", Reference: r.Repositories[0].String() + ":" + r.Version + "-amd64"},
	}}); err == nil {
		t.Error("the images have the tags of the release")
	}
}

func TestJob(t *testing.T) {
	r := newJobRig(t)
	released, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if released.Draft || released.Finished || len(released.Files) != 7 || len(released.Images) != 3 || !strings.HasSuffix(released.URL, "/releases/tag/3.28.0") {
		t.Errorf("released %+v", released)
	}
	release := r.server.Release("3.28.0")
	for _, file := range released.Files {
		asset := release.Asset(file.Name)
		if asset == nil || asset.Digest != file.Digest || file.Action != github.Upload {
			t.Errorf("%s is %+v, want %+v", file.Name, asset, file)
		}
	}
	if !slices.Contains(released.Images[2].Tags, "latest") {
		t.Errorf("the index has the tags %v, want latest too", released.Images[2].Tags)
	}
	if !strings.Contains(r.said.String(), "warning: one.yaml:1: one on x86_64 has") {
		t.Errorf("a component over its budget is not said: %s", &r.said)
	}
	changes := r.server.Changes()
	again, err := r.Run(t.Context())
	if err != nil || !again.Finished || r.server.Changes() != changes {
		t.Errorf("again: %+v, %v, %d changes", again, err, r.server.Changes()-changes)
	}
	// With force it looks at everything, and finds that nothing differs.
	r.Force = true
	again, err = r.Run(t.Context())
	if err != nil || again.Finished || r.server.Changes() != changes || again.Files[0].Action != github.Keep {
		t.Errorf("by force: %+v, %v, %d changes", again, err, r.server.Changes()-changes)
	}
	r.contents["two"]["opt/kata/bin/two"] = "other"
	if again, err = r.Run(t.Context()); err != nil || again.Files[0].Action != github.Replace || again.Files[1].Action != github.Keep {
		t.Errorf("by force, with other content: %+v, %v", again, err)
	}
	// The page names the new digests, and no old ones.
	body := r.server.Release("3.28.0").Body
	was, is := strings.TrimPrefix(released.Files[0].Digest, "sha256:"), strings.TrimPrefix(again.Files[0].Digest, "sha256:")
	if strings.Contains(body, was) || !strings.Contains(body, is) {
		t.Errorf("after a forced release the page lacks %s, or still has %s:\n%s", is, was, body)
	}
}

// TestJobRefuses has one case for each thing that stops a release.
func TestJobRefuses(t *testing.T) {
	forbidding := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer forbidding.Close()
	for name, test := range map[string]struct {
		change func(r *jobRig)
		wrong  string
		// untouched is true where GitHub must not be changed at all.
		untouched bool
	}{
		"conflict":  {func(r *jobRig) { r.contents["two"]["opt/kata/bin/one"] = "other" }, "opt/kata/bin/one", true},
		"host":      {func(r *jobRig) { r.contents["two"]["etc/hosts"] = "127.0.0.1" }, "etc/hosts", true},
		"limit":     {func(r *jobRig) { r.Limit = 1000 }, "must stay below 1000", true},
		"budget":    {func(r *jobRig) { r.Strict = true }, "over its budget", true},
		"commit":    {func(r *jobRig) { r.Commit = strings.Repeat("d", 40) }, "push it first", true},
		"tag":       {func(r *jobRig) { r.server.Tags["3.28.0"] = strings.Repeat("d", 40) }, "raise VERSION", true},
		"no commit": {func(r *jobRig) { r.Commit = "" }, "a release needs a commit", true},
		"leftover": {func(r *jobRig) {
			draft := r.server.AddRelease(githubtest.Release{Tag: "3.28.0", Draft: true})
			r.server.Add(draft, "kata-static-3.28.0-s390x.tar.zst", []byte("old"))
		}, "which an earlier run left", false},
		"damaged": {func(r *jobRig) {
			r.server.Faults = []*githubtest.Fault{{Request: "^POST .*/assets", Times: 100, Leave: githubtest.Damaged}}
		}, "GitHub has other bytes than were sent", false},
		"registry": {func(r *jobRig) {
			closed, err := payload.OpenRepository(strings.TrimPrefix(forbidding.URL, "http://")+"/kata-deploy", payload.RemoteOptions{Client: oci.NewClient(oci.Options{})})
			if err == nil {
				r.Repositories = append(r.Repositories, closed)
			}
		}, "403", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newJobRig(t)
			test.change(r)
			changes := r.server.Changes()
			r.refused(t, test.wrong)
			if n := r.server.Changes() - changes; test.untouched && n != 0 {
				t.Errorf("GitHub was changed %d times", n)
			}
		})
	}
}

// TestJobPublished has a release that somebody published without its files.
func TestJobPublished(t *testing.T) {
	r := newJobRig(t)
	r.server.Tags["3.28.0"] = jobCommit
	r.server.AddRelease(githubtest.Release{Tag: "3.28.0", Published: time.Now(), Latest: true})
	_, err := r.Run(t.Context())
	if !errors.Is(err, github.ErrPublished) || !strings.Contains(err.Error(), "SHA256SUMS") || len(r.planned.Files) == 0 || r.planned.Files[0].Exact {
		t.Errorf("got %v, want what is missing, before anything is made", err)
	}
	r.Force = true
	released, err := r.Run(t.Context())
	if err != nil || r.server.Release("3.28.0").Asset(SumsName) == nil || released.Draft {
		t.Errorf("by force: %v", err)
	}
}

// TestJobVerifies has an asset disappear after the uploads.
func TestJobVerifies(t *testing.T) {
	r := newJobRig(t)
	uploads := 0
	r.server.Around = func(w http.ResponseWriter, request *http.Request, serve http.HandlerFunc) {
		serve(w, request)
		if request.Method == http.MethodPost && strings.HasSuffix(request.URL.Path, "/assets") {
			if uploads++; uploads == 7 {
				r.server.Do(func() { r.server.Releases[0].Assets = r.server.Releases[0].Assets[1:] })
			}
		}
	}
	r.refused(t, "after the upload these differ from what was sent: kata-static-3.28.0-amd64.tar.zst")
	if _, err := r.Run(t.Context()); err != nil || uploads != 8 {
		t.Errorf("the next run: %v, %d uploads, want the one that was missing", err, uploads)
	}
}

// TestJobDraft has a draft that somebody edited.
func TestJobDraft(t *testing.T) {
	r := newJobRig(t)
	r.server.AddRelease(githubtest.Release{Tag: "3.28.0", Draft: true, Body: "Read this first.\r\n", Target: "main"})
	r.KeepDraft = true
	released, err := r.Run(t.Context())
	release := r.server.Release("3.28.0")
	if err != nil || !released.Draft || !release.Draft || release.Target != jobCommit || release.Name != "Kata Containers 3.28.0" {
		t.Errorf("got %+v, %v", release, err)
	}
	if !strings.HasPrefix(release.Body, "Read this first.\n\n"+notesBegin) || !strings.Contains(release.Body, "| `one` | v6.18.15 |") {
		t.Errorf("the text is %q, want what was written and the notes", release.Body)
	}
	for _, image := range released.Images {
		if slices.ContainsFunc(image.Tags, func(tag string) bool { return strings.HasPrefix(tag, "3.28.0") || tag == "latest" }) {
			t.Errorf("the image of a draft has the tags %v", image.Tags)
		}
	}
	changes := r.server.Changes()
	if _, err := r.Run(t.Context()); err != nil || r.server.Changes() != changes {
		t.Errorf("again: %v, %d changes", err, r.server.Changes()-changes)
	}
}

// TestJobAlone starts two runs in one folder.
func TestJobAlone(t *testing.T) {
	r := newJobRig(t)
	unlock, err := files.TryLock(filepath.Join(r.Output, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	r.refused(t, "another release is running in "+r.Output)
	unlock()
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}
