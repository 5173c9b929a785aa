package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

func TestPresent(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "some-program")
	require.NoError(t, os.WriteFile(program, nil, 0o755))
	t.Setenv("PATH", dir)
	for name, want := range map[string]bool{
		"some-program": true, "other-program": false, program: true, program + "x": false,
	} {
		if got := len(missing([]Requirement{{Name: name}})) == 0; got != want {
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
	err := installer{}.install(t.Context(), []Requirement{{Name: "none", Package: "none"}})
	require.Error(t, err, "apt-get install --yes --no-install-recommends none`): this machine has no apt-get")
}
