package payload

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

// An image of programs has their files and no tarball.
func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "tree/opt/kata/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tree/opt/kata/bin/one"), []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	tarball := filepath.Join(dir, "kata-static-one.tar.zst")
	if _, err := archive.Pack(t.Context(), filepath.Join(dir, "tree"), tarball, archive.Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Name: "tool", GoArch: "amd64", Components: []archive.Component{{Name: "one", Path: tarball}}, Command: []string{"/usr/bin/one"},
		Programs: []Program{{Path: "usr/bin/one", Component: "one", Member: "opt/kata/bin/one"}, {Path: "usr/bin/debug.sh", Content: []byte("#!/bin/sh\n")}},
		Labels:   Labels{Title: "tool"},
	}
	image := make1(t, o)
	if len(image.Layers()) != 1 {
		t.Fatalf("it has %d layers, want one", len(image.Layers()))
	}
	list, contents := members(t, image.Layers()[0])
	if want := []string{"5 0755 usr/", "5 0755 usr/bin/", "0 0755 usr/bin/debug.sh", "0 0755 usr/bin/one"}; !slices.Equal(list, want) {
		t.Errorf("it has %q, want %q", list, want)
	}
	if contents["usr/bin/one"] != "program" {
		t.Errorf("its program is %q", contents["usr/bin/one"])
	}
	if config := image.config.Config; !slices.Equal(config.Cmd, o.Command) || config.Entrypoint != nil || config.Labels[annotation+"title"] != "tool" {
		t.Errorf("its configuration is %+v", config)
	}
	o.Programs[0].Member = "opt/kata/bin/two"
	if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "has no file opt/kata/bin/two for the image tool: correct the path in assets/images.yaml") {
		t.Errorf("without the member: %v", err)
	}
	o.Programs[0].Component = "two"
	if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "tool needs two for usr/bin/one") {
		t.Errorf("without the component: %v", err)
	}
}

// What is collected are old commits' tags; those of releases and of people stay.
func TestCollect(t *testing.T) {
	r, _, _ := repository(t, registrytest.New(t)+"/ci")
	commit := strings.Repeat("0a", 20)
	o := options(t)
	o.Labels.Created = time.Now().AddDate(0, 0, -20)
	push1(t, r, make1(t, o), Tag{Name: "kata-containers-" + commit + "-amd64"}, Tag{Name: "3.28.0-amd64"}, Tag{Name: "0.0.0-g" + commit}, Tag{Name: "kata-containers-latest"})
	o.Labels.Created = time.Now().AddDate(0, 0, -2)
	push1(t, r, make1(t, o), Tag{Name: "kata-containers-" + strings.Repeat("0b", 20)})
	before := time.Now().AddDate(0, 0, -14)
	want := []string{"0.0.0-g" + commit, "kata-containers-" + commit + "-amd64"}
	for _, list := range []bool{true, false} {
		old, err := r.Collect(t.Context(), before, list)
		slices.Sort(old)
		if err != nil || !slices.Equal(old, want) {
			t.Errorf("old are %q, %v, want %q", old, err, want)
		}
	}
	left, err := r.Tags(t.Context())
	slices.Sort(left)
	if err != nil || !slices.Equal(left, []string{"3.28.0-amd64", "kata-containers-" + strings.Repeat("0b", 20), "kata-containers-latest"}) {
		t.Errorf("left are %q, %v", left, err)
	}
	refusing, _, _ := repository(t, registrytest.New(t)+"/ci", registrytest.Rule{Method: "DELETE", Path: "/manifests/", Do: registrytest.Status(405)})
	o.Labels.Created = time.Unix(0, 0)
	push1(t, refusing, make1(t, o), Tag{Name: "0.0.0-g" + commit})
	if _, err := refusing.Collect(t.Context(), before, false); err == nil || !strings.Contains(err.Error(), "removing 0.0.0-g"+commit) {
		t.Errorf("where nothing may be removed: %v", err)
	}
}
