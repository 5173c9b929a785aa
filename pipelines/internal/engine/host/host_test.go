package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestPresent(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "some-program")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for name, want := range map[string]bool{
		"some-program": true, "other-program": false, program: true, program + "x": false,
	} {
		if got := (Requirement{Name: name}).Present(); got != want {
			t.Errorf("Present(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestInstallCommand(t *testing.T) {
	got := InstallCommand([]Requirement{{Package: "runc"}, {Package: "nftables"}})
	want := "apt-get update && apt-get install --yes --no-install-recommends runc nftables"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestInstallWithoutApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := Install(t.Context(), nil, nil); !errors.Is(err, ErrNoApt) {
		t.Errorf("got %v, want ErrNoApt", err)
	}
}
