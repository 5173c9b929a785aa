package release

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// TestPlan compares a plan with a golden file, and what executing it did with the plan.
func TestPlan(t *testing.T) {
	r := newJobRig(t)
	plan, err := r.plan(t)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.NewReplacer(strings.TrimSuffix(r.Repositories[0].String(), "/kata-deploy"), "REGISTRY", r.Output, "OUTPUT").Replace(string(data)) + "\n"
	golden := filepath.Join("testdata", "plan", "plan.json")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("plan (-want +got, -update writes it):\n%s", diff)
	}
	if entries, err := os.ReadDir(r.Output); err != nil || len(entries) > 0 || r.server.Changes() > 0 {
		t.Errorf("planning wrote %v, %v and changed GitHub %d times", entries, err, r.server.Changes())
	}
	released, err := plan.Execute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range released.Files {
		if p := plan.Files[slices.IndexFunc(plan.Files, func(f File) bool { return f.Name == file.Name })]; p.Action != file.Action || p.Exact && p.Size != file.Size || p.Digest != "" && p.Digest != file.Digest {
			t.Errorf("file %d: planned %+v, did %+v", i, p, file)
		}
	}
	for i, image := range released.Images {
		if !slices.Equal(slices.Sorted(slices.Values(image.Tags)), slices.Sorted(slices.Values(plan.Images[i].Tags))) {
			t.Errorf("image %d: planned %q, gave %q", i, plan.Images[i].Tags, image.Tags)
		}
	}
}

// TestNothingIsBuilt has artifacts that no cache has, and others without a proof: all of
// them are listed, with the commands that help.
func TestNothingIsBuilt(t *testing.T) {
	r := newJobRig(t)
	r.unproven = []string{"one"}
	if err := r.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, c := range r.Components {
		if c.Asset == "two" {
			r.Components[i] = Component{Asset: "two", Arch: c.Arch, State: build.Miss, Why: "no cache has the key 0123"}
		}
	}
	plan, err := r.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1 of 2 components are missing from the caches: build them (`pipelines build-asset --arch x86_64 two`)\nmissing: two: no cache has the key 0123",
		"1 of 2 components have no proof: verify each of them (`pipelines verify --arch x86_64 NAME`)\nunproven: one: no proof",
		"1 of 1 components have no proof: verify each of them (`pipelines verify --arch aarch64 NAME`)\nunproven: one: no proof",
	}
	if diff := cmp.Diff(want, plan.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	// A proof whose required check did not run does not count.
	r.unproven = nil
	if err := r.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Components[0].required = []string{"boot", "mount"}
	if err := Prove(t.Context(), r.Store, r.Components); err != nil {
		t.Fatal(err)
	}
	if err := Unproven(r.on(catalog.X86_64)); err == nil || !strings.Contains(err.Error(), `unproven: one: no proof that passed: the proof by : the required check "mount" did not run`) {
		t.Errorf("without a required check: %v", err)
	}
	changes := r.server.Changes()
	if _, err := plan.Execute(t.Context()); err == nil || r.server.Changes() != changes {
		t.Errorf("executed: %v", err)
	}
}

// TestBeforeBuild has artifacts without a proof: a plan for the time before the build
// accepts them, and is never executed.
func TestBeforeBuild(t *testing.T) {
	r := newJobRig(t)
	r.unproven = []string{"one"}
	if err := r.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.BeforeBuild = true
	plan, err := r.Plan(t.Context())
	if err != nil || len(plan.Problems) > 0 {
		t.Fatalf("got %v and %q", err, plan.Problems)
	}
	if _, err := plan.Execute(t.Context()); err == nil || r.server.Changes() > 0 {
		t.Errorf("executed with %v and %d changes on GitHub", err, r.server.Changes())
	}
}

// TestUnreachable guards against hours of builds for a release that lacks what no build
// can make, and against the advice to build it.
func TestUnreachable(t *testing.T) {
	for _, before := range []bool{true, false} {
		testUnreachable(t, before)
	}
}

func testUnreachable(t *testing.T, before bool) {
	r := newJobRig(t)
	if err := r.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.BeforeBuild = before
	r.Components[0] = Component{Asset: "one", Arch: catalog.X86_64, State: build.OutOfReach, Why: "out of reach: no hash"}
	plan, err := r.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1 of 2 components cannot be built: complete assets/sources.yaml (`pipelines bump --help`), release only other architectures (--arch), or leave the assets out of all (--without one)\nunreachable: one: out of reach: no hash"}
	if diff := cmp.Diff(want, plan.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestRenamedRepository has a repository that was renamed on GitHub: a dry run says so,
// and neither reads from the caches nor merges.
func TestRenamedRepository(t *testing.T) {
	for _, code := range []int{http.StatusMovedPermanently, http.StatusTemporaryRedirect} {
		r := newJobRig(t)
		r.server.FullName, r.server.Moved = "kata-containers/kata", code
		plan, err := r.plan(t)
		want := []string{"the repository kata-containers/kata-containers was renamed to kata-containers/kata: use that name"}
		if err != nil || !slices.Equal(plan.Problems, want) {
			t.Errorf("%d: got %v and %q, want %q", code, err, plan.Problems, want)
		}
		if i := slices.IndexFunc(plan.Files, func(f File) bool { return f.merge != nil }); i >= 0 {
			t.Errorf("%d: the merge of %s was planned", code, plan.Files[i].Name)
		}
		r.refused(t, want[0])
		if entries, err := os.ReadDir(r.Output); err != nil || len(entries) > 0 || r.server.Changes() > 0 {
			t.Errorf("%d: wrote %v, %v and changed GitHub %d times", code, entries, err, r.server.Changes())
		}
	}
}

// TestProofOfAnotherTarball has a proof of an earlier tarball of the asset: it does not
// count.
func TestProofOfAnotherTarball(t *testing.T) {
	r := newJobRig(t)
	if err := r.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.contents["one"]["opt/kata/bin/one"] = "changed"
	r.unproven = []string{"one"}
	r.refused(t, "have no proof")
}

// TestTwoCheckouts has two trees with one cache: neither merges what the other looked
// up.
func TestTwoCheckouts(t *testing.T) {
	r := newJobRig(t)
	tarballs := map[string][]archive.Component{}
	for _, checkout := range []string{"a", "b"} {
		r.contents["one"]["opt/kata/bin/one"] = "of " + checkout
		c, err := r.putAs(t.Context(), "one", catalog.X86_64, checkout)
		if err != nil {
			t.Fatal(err)
		}
		components, err := Tarballs(t.Context(), &store.Tiered{Local: r.Store.Local}, []Component{c})
		if err != nil {
			t.Fatal(err)
		}
		tarballs[checkout] = components
	}
	m := merge(t, tarballs["a"]...)
	out := filepath.Join(t.TempDir(), "a.tar.zst")
	if _, err := plan(t, m).Write(t.Context(), out, nil); err != nil {
		t.Fatal(err)
	}
	if got := readMember(t, out, "./opt/kata/bin/one"); got != "of a" {
		t.Errorf("the merge of a contains %q", got)
	}
}

func readMember(t *testing.T, tarball, name string) string {
	t.Helper()
	file, err := archive.Open(tarball)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	content, err := file.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	data, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
