package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The build of virtiofsd refuses a compiler that is older than the project wants before it
// compiles anything. For its crates cargo does that.
func TestOldToolchain(t *testing.T) {
	bin := t.TempDir()
	for name, script := range map[string]string{"rustc": "echo 'rustc 1.63.0 (4b91a6ea7 2022-08-08)'", "cargo": "echo cargo"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "../assets/virtiofsd/build.sh")
	build.Env = []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "ARCH=x86_64", "CROSS_COMPILE=", "BUILD=" + t.TempDir(),
		"VIRTIOFSD_VERSION=v1.13.3", "VIRTIOFSD_TOOLCHAIN=1.85.1",
	}
	out, err := build.CombinedOutput()
	const want = "virtiofsd v1.13.3 needs Rust 1.85.1, and the builder has 1.63.0: take rustc and cargo from a newer suite in assets.yaml"
	if err == nil || strings.TrimSpace(string(out)) != want {
		t.Errorf("%v, %q, want %q", err, out, want)
	}
}
