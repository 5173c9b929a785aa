package payload

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/store/registrytest"
)

func TestBuildProblems(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"none":      {func(o *Options) { o.Components = nil }, "without components"},
		"twice":     {func(o *Options) { o.Components = append(o.Components, o.Components[0]) }, `duplicate component "qemu"`},
		"missing":   {func(o *Options) { o.Components[0].Path += "x" }, "no such file"},
		"folder":    {func(o *Options) { o.Components[0].Path = filepath.Dir(o.Components[0].Path) }, "is not a regular file"},
		"tag base":  {func(o *Options) { o.Base = "example.org/base:latest" }, "only a digest identifies an image"},
		"installer": {func(o *Options) { o.Installer = "/nonexistent" }, "no such file"},
		"machine":   {func(o *Options) { o.Installer = program(t, "arm64", elf.PT_LOAD) }, "is for EM_AARCH64, ELFDATA2LSB, and not for x86_64: name another"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			c.change(&o)
			if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestLayerFromAnyOffset resumes at each byte that an upload could be lost at.
func TestLayerFromAnyOffset(t *testing.T) {
	for _, size := range []int{0, 1, block - 1, block, block + 1, 3000} {
		c := component(t, "x", size, 7)
		l, err := newLayer("x", "x", must(file("a/b", 0o644, c.Path)), text("a/c", noise(700, 1)), entry{name: "d", mode: 0o777, link: "a/b"})
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(must(l.content.Open(0)))
		if err != nil || int64(len(all)) != l.Size {
			t.Fatalf("read %d bytes of %d, %v", len(all), l.Size, err)
		}
		if _, err := tar.NewReader(bytes.NewReader(all)).Next(); err != nil {
			t.Error(err)
		}
		for offset := int64(0); offset <= l.Size; offset += 37 {
			rest, err := io.ReadAll(must(l.content.Open(offset)))
			if err != nil || !bytes.Equal(rest, all[offset:]) {
				t.Fatalf("%d bytes from %d on differ, %v", len(rest), offset, err)
			}
		}
	}
}

// TestChangedMeanwhile has a tarball that changes before the image is written.
func TestChangedMeanwhile(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"shorter": func(path string) error { return os.Truncate(path, 10) },
		"longer":  func(path string) error { return os.WriteFile(path, noise(30_001, 1), 0o644) },
		"other":   func(path string) error { return os.WriteFile(path, noise(30_000, 9), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			image := make1(t, o)
			if err := change(o.Components[0].Path); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "layout")
			if err := image.WriteLayout(t.Context(), out, nil); err == nil {
				t.Error("a layout with another content was written")
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("there is half a layout")
			}
			r, _, _ := repository(t, registrytest.New(t)+"/kata")
			if _, err := r.Push(t.Context(), image, PushOptions{}); err == nil {
				t.Error("another content was pushed")
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, options(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("Build: %v", err)
	}
	r, faults, _ := repository(t, registrytest.New(t)+"/kata")
	if _, err := r.Push(ctx, make1(t, options(t)), PushOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Push: %v", err)
	}
	if sent := methods(faults, http.MethodPatch, http.MethodPut); len(sent) > 0 {
		t.Errorf("sent %q", sent)
	}
}
