package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

var update = flag.Bool("update", false, "write the expected output into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pipelines": main})
}

// TestScripts runs the program in testdata/tree, with caches of its own, and a
// folder of its own, REGISTRY, in a registry that all scripts share.
func TestScripts(t *testing.T) {
	host := registrytest.New(t)
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("KATA_PIPELINES_CACHE", filepath.Join(env.WorkDir, "cache"))
			hostile, err := filepath.Abs("internal/archive/testdata/hostile")
			if err != nil {
				return err
			}
			env.Setenv("HOSTILE", hostile)
			env.Setenv("REGISTRY_HOST", host)
			env.Setenv("REPOSITORY", filepath.Base(env.WorkDir))
			env.Setenv("REGISTRY", host+"/"+filepath.Base(env.WorkDir))
			return os.CopyFS(env.WorkDir, os.DirFS(filepath.Join("testdata", "tree")))
		},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"prefill": prefill, "prove": prove, "tags": tags, "pack": pack, "serve": serve, "leaks": leaks,
		},
	})
}

// prefill ASSET FILE stores a tarball as the artifact of an asset's key, as if it
// had been built. Another file becomes a tarball that has it.
func prefill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: prefill ASSET FILE")
	}
	plan := plan(ts, args[0])
	canonical, err := plan.Recipe.Canonical()
	ts.Check(err)
	data, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	if !bytes.HasPrefix(data, []byte("\x28\xb5\x2f\xfd")) {
		tree := ts.MkAbs(args[1] + ".tree")
		ts.Check(os.CopyFS(filepath.Join(tree, "opt", "kata"), fstest.MapFS{args[0]: {Data: data}}))
		_, err := archive.Pack(context.Background(), tree, ts.MkAbs(args[1]), archive.Options{Level: 1})
		ts.Check(errors.Join(err, os.RemoveAll(tree)))
	}
	s := store.Open(filepath.Join(ts.Getenv("KATA_PIPELINES_CACHE"), "store"), nil)
	_, err = s.Put(context.Background(), store.Put{
		Ref:     store.Ref{Asset: args[0], Arch: "x86_64", Key: plan.Key},
		Tarball: ts.MkAbs(args[1]), Recipe: canonical, Record: []byte("{}"),
	})
	s.Release() // The program runs in processes of its own.
	ts.Check(err)
}

// prove ASSET stores a proof of the artifact of an asset's key, as if it had been verified.
func prove(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: prove ASSET")
	}
	s := store.Open(filepath.Join(ts.Getenv("KATA_PIPELINES_CACHE"), "store"), nil)
	artifact, err := s.Get(context.Background(), store.Ref{Asset: args[0], Arch: "x86_64", Key: plan(ts, args[0]).Key})
	ts.Check(err)
	ts.Check(proveArtifact(s, artifact))
}

// serve FOLDER VARIABLE serves a folder, with lists of its files, and sets the variable to
// the address.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: serve FOLDER VARIABLE")
	}
	server := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[0]))))
	ts.Defer(server.Close)
	ts.Setenv(args[1], server.URL)
}

// tags REPOSITORY prints its tags in the registry.
func tags(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tags REPOSITORY")
	}
	address := fmt.Sprintf("http://%s/v2/%s/tags/list", ts.Getenv("REGISTRY_HOST"), args[0])
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	ts.Check(err)
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer response.Body.Close()
	var list struct{ Tags []string }
	ts.Check(json.NewDecoder(response.Body).Decode(&list))
	for _, tag := range list.Tags {
		fmt.Fprintln(ts.Stdout(), tag)
	}
}

func plan(ts *testscript.TestScript, asset string) recipe.Plan {
	root := ts.Getenv("WORK")
	tree := recipe.NewTree(os.DirFS(root))
	assets, err := catalog.Load(tree)
	ts.Check(err)
	pins, err := versions.Load(filepath.Join(root, "versions.yaml"), tree)
	ts.Check(err)
	found, err := assets.Find(asset, catalog.X86_64)
	ts.Check(err)
	plan, err := recipe.Resolver{Versions: pins, Tree: tree}.Resolve(found, catalog.X86_64, nil)
	ts.Check(err)
	return plan
}
