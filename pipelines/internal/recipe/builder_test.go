package recipe

import (
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

func TestBuilderID(t *testing.T) {
	base := Builder{Distribution: "debian", Suite: "trixie", Image: "debian@sha256:1", Epoch: 1, Packages: []string{"g++", "make"}}
	// A change here has every builder made again, everywhere.
	const want = "5353fc6db8214296baa33268644e9711031ac21cba29993edf27b29ead5476de"
	ids := map[string]string{}
	for name, change := range map[string]func(b *Builder, arch *string){
		"nothing":      func(*Builder, *string) {},
		"distribution": func(b *Builder, _ *string) { b.Distribution = "ubuntu" },
		"suite":        func(b *Builder, _ *string) { b.Suite = "sid" },
		"image":        func(b *Builder, _ *string) { b.Image = "debian@sha256:2" },
		"epoch":        func(b *Builder, _ *string) { b.Epoch = 2 },
		"packages":     func(b *Builder, _ *string) { b.Packages = []string{"g++"} },
		"arch":         func(_ *Builder, arch *string) { *arch = "aarch64" },
	} {
		b, arch := base, "x86_64"
		change(&b, &arch)
		id, err := b.ID(arch)
		require.NoError(t, err)
		if name == "nothing" && id != want {
			t.Errorf("ID %s, want %s", id, want)
		}
		if other := ids[id]; other != "" {
			t.Errorf("%s and %s give the same ID", name, other)
		}
		ids[id] = name
	}
}

func TestOn(t *testing.T) {
	r := Recipe{Asset: "kernel", Arch: "aarch64", Builder: Builder{Packages: []string{"make"}, Cross: []string{"gcc-aarch64-linux-gnu"}}}
	for machine, want := range map[string]string{"aarch64": "make", "x86_64": "gcc-aarch64-linux-gnu make"} {
		b, err := r.On(machine)
		if got := strings.Join(b.Packages, " "); err != nil || got != want || b.Cross != nil {
			t.Errorf("on %s: %q, %v", machine, got, err)
		}
	}
	r.Builder.Cross = nil
	want := "kernel for aarch64 can only be built on aarch64, but the engine runs on x86_64: name another engine with --engine"
	if _, err := r.On("x86_64"); err == nil || err.Error() != want {
		t.Errorf("without cross packages: %v", err)
	}
}
