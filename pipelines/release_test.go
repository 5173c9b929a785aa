package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github/githubtest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

const (
	releaseSets = `kata-static:
  x86_64: [tiny, huge]
  aarch64: [tiny]
kata-tools: {}
`
	releaseShims = `base: example.org/static@sha256:d7e12182ce18b85b93007c1dedf31f2d29e01ccf3182cc4017c709b6259bc132
shims:
  qemu:
    x86_64: [tiny, huge]
    aarch64: [tiny]
`
)

// released are the assets of the sets.
var released = []struct {
	asset string
	arch  catalog.Arch
}{{"tiny", catalog.X86_64}, {"huge", catalog.X86_64}, {"tiny", catalog.AArch64}}

// releaseTree makes a tree with something to release, and a cache that has it.
func releaseTree(root, cache string) error {
	if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata", "tree"))); err != nil {
		return err
	}
	for name, content := range map[string]string{
		catalog.SetsFile: releaseSets, catalog.ShimsFile: releaseShims, "VERSION": "3.28.0\n", ".gitignore": "/build/\n/cache/\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	for _, of := range released {
		if err := fillCache(root, cache, of.asset, of.arch, true); err != nil {
			return err
		}
	}
	return nil
}

// fillCache stores a tarball as the artifact of an asset, as if it had been built,
// and perhaps verified.
// Its content is random, and the same every time.
func fillCache(root, cache, asset string, arch catalog.Arch, verified bool) error {
	dir, err := os.MkdirTemp(filepath.Dir(cache), "pack")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	random := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", asset+string(arch)))))
	content := make([]byte, 300_000)
	if _, err := random.Read(content); err != nil {
		return err
	}
	bin := filepath.Join(dir, "tree", "opt", "kata", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, asset), content, 0o755); err != nil {
		return err
	}
	tarball := filepath.Join(dir, "tarball")
	if _, err := archive.Pack(context.Background(), filepath.Join(dir, "tree"), tarball, archive.Options{Level: 1}); err != nil {
		return err
	}
	plan, err := planOf(root, asset, arch)
	if err != nil {
		return err
	}
	canonical, err := plan.Recipe.Canonical()
	if err != nil {
		return err
	}
	s := store.Open(filepath.Join(cache, "store"), nil)
	artifact, err := s.Put(context.Background(), store.Put{
		Ref: store.Ref{Asset: asset, Arch: string(arch), Key: plan.Key}, Tarball: tarball, Recipe: canonical, Record: []byte("{}"),
	})
	if err != nil || !verified {
		return err
	}
	return proveArtifact(s, artifact)
}

// proveArtifact stores a proof that passed.
func proveArtifact(s *store.Local, artifact store.Artifact) error {
	var checks []report.Check
	for _, name := range append(slices.Clone(catalog.CommonChecks), "boot") {
		checks = append(checks, report.Check{Name: name, Verdict: report.Passed})
	}
	proof, err := report.Proof{
		Version: report.ProofVersion, Subject: report.Subject{Asset: artifact.Asset, Arch: artifact.Arch, Key: artifact.Key, Tarball: artifact.Digest},
		Checks: checks,
	}.Encode()
	if err != nil {
		return err
	}
	return s.Attach(context.Background(), artifact, store.Proof, proof)
}

func planOf(root, asset string, arch catalog.Arch) (recipe.Plan, error) {
	tree := recipe.NewTree(os.DirFS(root))
	assets, err := catalog.Load(tree)
	if err != nil {
		return recipe.Plan{}, err
	}
	pins, err := versions.Load(filepath.Join(root, "versions.yaml"), tree)
	if err != nil {
		return recipe.Plan{}, err
	}
	found, err := assets.Find(asset, arch)
	if err != nil {
		return recipe.Plan{}, err
	}
	return recipe.Resolver{Versions: pins, Tree: tree}.Resolve(found, arch, nil)
}

// TestReleaseScripts runs the program in a tree with something to release, a GitHub
// and a folder of a registry for each script.
func TestReleaseScripts(t *testing.T) { releaseScripts(t, registrytest.New(t)) }

func releaseScripts(t *testing.T, host string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "release"),
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			server := githubtest.New(t, "kata-containers/kata-containers")
			env.Values["github"] = server
			for name, value := range map[string]string{
				"KATA_PIPELINES_CACHE": filepath.Join(env.WorkDir, "cache"), "DOCKER_CONFIG": filepath.Join(env.WorkDir, "docker"),
				"REGISTRY_HOST": host, "REPOSITORY": filepath.Base(env.WorkDir), "GITHUB_API_URL": server.URL(),
				"KATA_DEPLOY_REGISTRIES": host + "/" + filepath.Base(env.WorkDir) + "/kata-deploy", "GITHUB_REPOSITORY": server.Repository,
				"TOKEN": githubtest.Token, "READER": githubtest.ReaderToken,
			} {
				env.Setenv(name, value)
			}
			return releaseTree(env.WorkDir, filepath.Join(env.WorkDir, "cache"))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"tags": tags, "github": githubCmd, "cached": cachedCmd, "unproven": unprovenCmd, "commit": commitCmd,
		},
	})
}

// cachedCmd: cached ASSET ARCH fills the cache after a change of the tree.
func cachedCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cached ASSET ARCH")
	}
	ts.Check(fillCache(ts.Getenv("WORK"), ts.Getenv("KATA_PIPELINES_CACHE"), args[0], catalog.Arch(args[1]), true))
}

// unprovenCmd: unproven ASSET ARCH fills an empty cache, where only this asset lacks a
// proof.
func unprovenCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unproven ASSET ARCH")
	}
	for _, of := range released {
		ts.Check(fillCache(ts.Getenv("WORK"), ts.Getenv("KATA_PIPELINES_CACHE"), of.asset, of.arch, of.asset != args[0] || string(of.arch) != args[1]))
	}
}

// commitCmd: commit makes a commit of all there is.
func commitCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: commit")
	}
	_, err := commitAll(ts.Getenv("WORK"))
	ts.Check(err)
}

func commitAll(root string) (commit string, err error) {
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "--all", "."}, {"commit", "-q", "-m", "all"}} {
		if output, err := git(root, args...); err != nil {
			return "", fmt.Errorf("%w: %s", err, output)
		}
	}
	output, err := git(root, "rev-parse", "HEAD")
	return strings.TrimSpace(output), err
}

func git(root string, args ...string) (string, error) {
	const when = "2026-03-01T00:00:00Z"
	cmd := exec.CommandContext(context.Background(), "git", append([]string{"-C", root, "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.autocrlf=false"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_DATE="+when, "GIT_COMMITTER_DATE="+when)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// githubCmd: github push tells the server of the commit that is checked out; github
// show prints its releases; github changes prints how often anything was changed;
// github add TAG NAME adds an asset of somebody else's; github 502 has the next
// upload fail and leave a starter.
func githubCmd(ts *testscript.TestScript, neg bool, args []string) {
	server, ok := ts.Value("github").(*githubtest.Server)
	if neg || len(args) == 0 || !ok {
		ts.Fatalf("usage: github push|show|changes|add TAG NAME|502")
	}
	switch args[0] {
	case "push":
		head, err := git(ts.Getenv("WORK"), "rev-parse", "HEAD")
		ts.Check(err)
		server.Do(func() { server.Commits = append(server.Commits, strings.TrimSpace(head)) })
	case "show":
		server.Do(func() { fmt.Fprint(ts.Stdout(), showGitHub(server)) })
	case "changes":
		fmt.Fprintln(ts.Stdout(), server.Changes())
	case "add":
		server.Add(releaseOf(server, args[1]), args[2], []byte("by hand"))
	case "502":
		server.Do(func() {
			server.Faults = append(server.Faults, &githubtest.Fault{Request: "^POST .*/assets", Skip: 1, Times: 1, Status: 502, Leave: githubtest.Starter})
		})
	default:
		ts.Fatalf("github %s: no such command", args[0])
	}
}

func releaseOf(server *githubtest.Server, tag string) (found *githubtest.Release) {
	server.Do(func() {
		found = server.Releases[slices.IndexFunc(server.Releases, func(r *githubtest.Release) bool { return r.Tag == tag })]
	})
	return found
}

// showGitHub describes what a server has; it must be called by its Do.
func showGitHub(server *githubtest.Server) string {
	var text strings.Builder
	for _, release := range server.Releases {
		fmt.Fprintf(&text, "%s draft=%v prerelease=%v latest=%v target=%s tag=%s\n", release.Tag, release.Draft, release.Prerelease, release.Latest, release.Target, server.Tags[release.Tag])
		assets := slices.Clone(release.Assets)
		slices.SortFunc(assets, func(a, b *githubtest.Asset) int { return strings.Compare(a.Name, b.Name) })
		for _, asset := range assets {
			fmt.Fprintf(&text, "  %s %s %s\n", asset.Name, asset.State, asset.Digest)
		}
		text.WriteString(release.Body)
	}
	return text.String()
}
