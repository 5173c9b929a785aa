package release

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/build"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
)

// withModule gives the first component of a rig a tarball of modules, with one module.
func (r *jobRig) withModule(t *testing.T, module []byte) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "tree", "lib/modules/6.18.15/kernel/x.ko")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, module, 0o644); err != nil {
		t.Fatal(err)
	}
	tarball := filepath.Join(dir, "modules")
	if _, err := archive.Pack(t.Context(), filepath.Join(dir, "tree"), tarball, archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	c := &r.Components[0]
	blob, err := r.Store.Blob(t.Context(), c.Artifact, "")
	if err != nil {
		t.Fatal(err)
	}
	recipe := []byte(fmt.Sprintf(`{"asset":%q,"modules":true}`, c.Asset))
	c.Artifact, err = r.Store.Put(t.Context(), store.Put{
		Ref:     store.Ref{Asset: c.Asset, Arch: string(c.Arch), Key: fmt.Sprintf("%x", sha256.Sum256(recipe))},
		Tarball: blob, Outputs: map[string]string{"modules": tarball}, Recipe: recipe, Record: []byte("{}"),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPublicKeyInModules guards against a release whose kernels load modules that anybody
// can sign.
func TestPublicKeyInModules(t *testing.T) {
	signed, err := os.ReadFile("../modsig/testdata/development.ko")
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte("other"), signed...) // So the signature is not the key's.
	for name, test := range map[string]struct {
		module []byte
		public bool
	}{"signed with the public key": {signed, true}, "with a signature of something else": {changed, false}, "unsigned": {[]byte("\x7fELF"), false}} {
		t.Run(name, func(t *testing.T) {
			r := newJobRig(t)
			if err := r.fill(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.withModule(t, test.module)
			if err := CheckKeys(t.Context(), r.Store, r.Components); err != nil {
				t.Fatal(err)
			}
			plan, err := r.Plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			problems := strings.Join(plan.Problems, "\n")
			refused := strings.Contains(problems, "1 of 2 components are signed with a key that is public, so that anybody can sign modules that their kernels load: "+
				"replace the pair in assets/kernel/signing with your own") &&
				strings.Contains(problems, "\npublic key: one: ./lib/modules/6.18.15/kernel/x.ko was signed with a key that is public")
			if refused != test.public || !test.public && problems != "" {
				t.Errorf("refused: %v, want %v: %s", refused, test.public, problems)
			}
			if _, err := plan.Execute(t.Context()); (err != nil) != test.public {
				t.Errorf("executing the plan: %v", err)
			}
		})
	}
}

// TestPublicKeyDeclared checks that a release is refused before anything is built.
func TestPublicKeyDeclared(t *testing.T) {
	data, err := os.ReadFile("../modsig/public.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	secrets := func(fingerprint string) recipe.Plan {
		return recipe.Plan{Recipe: recipe.Recipe{Secrets: []recipe.Secret{{Name: "PIN", Fingerprint: fingerprint}}}}
	}
	plan := build.Plan{Steps: []build.Step{
		{Asset: "kernel", Resolved: secrets(fmt.Sprintf("sha256:%x", sha256.Sum256(block.Bytes)))},
		{Asset: "image", Dependencies: []string{"kernel"}},
		{Asset: "other", Resolved: secrets("sha256:00")},
	}}
	const why = "kernel signs modules with the key of PIN, which is public"
	for name, want := range map[string]string{"kernel": why, "image": why, "other": ""} {
		if got := declaredKey(plan, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	r := newJobRig(t)
	if err := r.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.BeforeBuild, r.Components[0].PublicKey = true, why
	refused, err := r.Plan(t.Context())
	if err != nil || !strings.Contains(strings.Join(refused.Problems, "\n"), "public key: one: "+why) {
		t.Errorf("before the build: %v, %v", err, refused.Problems)
	}
}

// TestUnreleasable guards against the release of a boot image that no machine starts.
func TestUnreleasable(t *testing.T) {
	on := []catalog.Arch{catalog.S390X}
	from := &catalog.Catalog{Assets: []catalog.Asset{
		{Name: "boot-image", Arches: on, Dependencies: []string{"host-key"}}, {Name: "host-key", Arches: on, Unreleasable: "no machine has it"}, {Name: "kernel", Arches: on},
	}}
	for name, want := range map[string]string{"boot-image": "host-key: no machine has it", "host-key": "host-key: no machine has it", "kernel": ""} {
		if got, err := unreleasable(from, name, catalog.S390X); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	r := newJobRig(t)
	if err := r.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Components[0].Unreleasable = "host-key: no machine has it"
	for _, r.BeforeBuild = range []bool{true, false} {
		refused, err := r.Plan(t.Context())
		if err != nil || !strings.Contains(strings.Join(refused.Problems, "\n"), "are built with what is only for tests: replace that in the tree, or leave them out (--without)\nnot for releases: one: host-key: no machine has it") {
			t.Errorf("before the build %t: %v, %v", r.BeforeBuild, err, refused.Problems)
		}
	}
}
