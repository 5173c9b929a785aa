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

// What is collected are old commits' tags; those of releases and of people stay, and so do the
// newest commits, and those that the tag of a branch names.
func TestCollect(t *testing.T) {
	r, _, _ := repository(t, registrytest.New(t)+"/ci")
	commit := func(digit string) string { return strings.Repeat("0"+digit, 20) }
	o := options(t)
	for _, c := range []struct {
		digit string
		days  int
		more  []Tag
	}{
		{"a", 40, []Tag{{Name: "kata-containers-stable"}}}, {"b", 30, nil}, {"c", 20, nil}, {"d", 19, nil}, {"e", 2, []Tag{{Name: "kata-containers-latest"}}},
	} {
		o.Labels.Created = time.Now().AddDate(0, 0, -c.days)
		push1(t, r, make1(t, o), append(c.more, Tag{Name: "kata-containers-" + commit(c.digit) + "-amd64"}, Tag{Name: "0.0.0-g" + commit(c.digit)})...)
	}
	old := Old{Before: time.Now().AddDate(0, 0, -14), Keep: 2}
	for _, test := range []struct {
		keep int
		list bool
		want string
	}{{2, true, "b b c c"}, {3, true, "b b"}, {0, true, "b b c c d d"}, {2, false, "b b c c"}, {2, false, ""}} {
		old.Keep = test.keep
		tags, err := r.Collect(t.Context(), old, test.list)
		slices.Sort(tags)
		var digits []string
		for _, tag := range tags {
			digits = append(digits, commitOf(tag)[1:2])
		}
		slices.Sort(digits)
		if got := strings.Join(digits, " "); err != nil || got != test.want {
			t.Errorf("%+v: got %s, %v", test, got, err)
		}
	}
	left, err := r.Tags(t.Context())
	if err != nil || len(left) != 8 {
		t.Errorf("left are %q, %v", left, err)
	}
	refusing, _, _ := repository(t, registrytest.New(t)+"/ci", registrytest.Rule{Method: "DELETE", Path: "/manifests/", Do: registrytest.Status(405)})
	o.Labels.Created = time.Unix(0, 0)
	push1(t, refusing, make1(t, o), Tag{Name: "0.0.0-g" + commit("a")})
	old.Keep = 0
	if _, err := refusing.Collect(t.Context(), old, false); err == nil || !strings.Contains(err.Error(), "removing 0.0.0-g"+commit("a")) {
		t.Errorf("where nothing may be removed: %v", err)
	}
}
