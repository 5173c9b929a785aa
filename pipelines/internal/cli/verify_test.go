package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/kernel/kimage/kimagetest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// dependent is a workspace whose kernel depends on another asset, and the artifacts
// of both in its store. The kernel's is not a kernel.
func dependent(t *testing.T, root, cache string) store.Artifact {
	t.Helper()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("..", "..", "testdata", "tree"))); err != nil {
		t.Fatal(err)
	}
	declaration := filepath.Join(root, "assets", "kernel", "assets.yaml")
	data, err := os.ReadFile(declaration)
	if err == nil {
		err = os.WriteFile(declaration, append(bytes.TrimSpace(data), "\n    dependencies: [tiny]\n"...), 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "VERSION"), []byte("3.28.0\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	ws, err := workspace.Open(t.Context(), workspace.Options{Root: root, CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	files := t.TempDir()
	below := filepath.Join(files, "opt", "kata")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(below, "README"), []byte("not a kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	tarball := filepath.Join(t.TempDir(), "x.tar.zst")
	if _, err := archive.Pack(t.Context(), files, tarball, archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	var artifact store.Artifact
	digests := map[string]recipe.Digests{}
	for _, name := range []string{"tiny", "kernel-debug"} {
		asset, err := ws.Catalog.Find(name, catalog.X86_64)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := ws.Resolver.Resolve(asset, catalog.X86_64, digests)
		if err != nil {
			t.Fatal(err)
		}
		canonical, err := plan.Recipe.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		ref := store.Ref{Asset: name, Arch: string(catalog.X86_64), Key: plan.Key}
		if artifact, err = ws.Store.Put(t.Context(), store.Put{Ref: ref, Tarball: tarball, Recipe: canonical, Record: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		digests[name] = recipe.Digests{Tarball: artifact.Digest}
	}
	return artifact
}

// TestVerifyRecordsProof verifies an asset with a dependency from the cache, which
// needs the digest of that, and finds the proof next to the artifact.
func TestVerifyRecordsProof(t *testing.T) {
	root, cache := t.TempDir(), t.TempDir()
	artifact := dependent(t, root, cache)
	run := func(args ...string) (string, int) {
		var stdout, stderr bytes.Buffer
		args = append([]string{"verify", "kernel-debug", "--arch", "x86_64", "--root", root, "--cache-dir", cache}, args...)
		code := Run(t.Context(), args, Process{Stdout: &stdout, Stderr: &stderr, Getenv: func(name string) string {
			return map[string]string{"GITHUB_SERVER_URL": "https://ci.example", "GITHUB_REPOSITORY": "kata/kata", "GITHUB_RUN_ID": "7"}[name]
		}})
		return stdout.String() + stderr.String(), code
	}
	local := store.Open(filepath.Join(cache, "store"), nil)
	if said, code := run("--no-boot"); code != 1 || !strings.Contains(said, "README does not belong to the asset") {
		t.Fatalf("exit code %d: %s", code, said)
	}
	if proofs, err := (&store.Tiered{Local: local}).Attached(t.Context(), artifact, store.Proof); err != nil || len(proofs) != 0 {
		t.Errorf("a run without boot left %d proofs, %v", len(proofs), err)
	}
	if said, code := run("--require", "boot"); code != 1 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	proofs, err := (&store.Tiered{Local: local}).Attached(t.Context(), artifact, store.Proof)
	if err != nil || len(proofs) != 1 {
		t.Fatalf("%d proofs, %v", len(proofs), err)
	}
	proof, err := report.Parse(proofs[0])
	if err != nil {
		t.Fatal(err)
	}
	if proof.Key != artifact.Key || proof.Tarball != artifact.Digest || proof.Err() == nil || proof.Runner.By != "https://ci.example/kata/kata/actions/runs/7" {
		t.Errorf("got %+v", proof)
	}
	subject := report.Subject{Asset: "kernel-debug", Arch: "x86_64", Tarball: artifact.Digest}
	if err := report.Accept(proofs, subject); err == nil || !strings.Contains(err.Error(), "boot") {
		t.Errorf("a proof that failed is accepted: %v", err)
	}
}

// TestVerifyKeepsChecks guards against a report that is dropped where the machine
// fails in the middle: here the guest's init does not compile.
func TestVerifyKeepsChecks(t *testing.T) {
	root, cache, programs := t.TempDir(), t.TempDir(), t.TempDir()
	dependent(t, root, cache)
	if err := os.MkdirAll(filepath.Join(root, "pipelines/internal/verify/kernel/guestinit"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go", "qemu-system-x86_64"} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\necho no memory >&2; exit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	vmlinuz := string(kimagetest.BzImage("6.18.15"))
	tarball := verifytest.Tree{"opt/kata/share/kata-containers/vmlinuz-6.18.15-188-debug": vmlinuz}.Pack(t)
	var stdout, stderr bytes.Buffer
	args := []string{"verify", "kernel-debug", "--arch", "x86_64", "--root", root, "--cache-dir", cache, "--file", tarball}
	code := Run(t.Context(), args, Process{Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv})
	if code != 1 || !strings.Contains(stderr.String(), "compiling the guest's init: exit status 1\nno memory") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if want := "passed   vmlinuz  "; !strings.Contains(stdout.String(), want) {
		t.Errorf("no %q in\n%s", want, stdout.String())
	}
}
