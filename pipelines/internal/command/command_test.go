package command

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// No token, password or secret of the caller reaches a child process.
func TestChildrenGetNoSecrets(t *testing.T) {
	for _, name := range []string{
		"KBUILD_SIGN_PIN", "GH_TOKEN", "ARTEFACT_REGISTRY_PASSWORD", "AWS_SECRET_ACCESS_KEY",
		"GOOGLE_API_KEY", "GOVC_PASSWORD", "XDG_SECRET",
	} {
		t.Setenv(name, "hidden-value")
	}
	t.Setenv("https_proxy", "http://proxy")
	t.Setenv("GOPROXY", "off")
	t.Setenv("KEY_0", "a")
	var out bytes.Buffer
	cmd := New(t.Context(), "env")
	cmd.Stdout = &out
	require.NoError(t, cmd.Run())
	text := out.String()
	if strings.Contains(text, "hidden-value") || strings.Contains(text, "GOPROXY") || !strings.Contains(text, "https_proxy=http://proxy\n") {
		t.Errorf("a child has\n%s", text)
	}
	text = strings.Join(GoEnviron("KEY_*"), "\n")
	if strings.Contains(text, "hidden-value") || !strings.Contains(text, "GOPROXY=off") || !strings.Contains(text, "KEY_0=a") {
		t.Errorf("the go command has\n%s", text)
	}
}

func TestSystemProgramsAreFound(t *testing.T) {
	dir := t.TempDir()
	before := systemDirs
	systemDirs = []string{dir}
	t.Cleanup(func() { systemDirs = before })
	t.Setenv("PATH", "/nonexistent")
	path := filepath.Join(dir, "nft")
	if _, err := LookPath("nft"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	require.WriteFile(t, path, "#!/bin/sh\n")
	if _, err := LookPath("nft"); err == nil {
		t.Error("a file that cannot be executed was taken")
	}
	require.NoError(t, os.Chmod(path, 0o755))
	if got, err := LookPath("nft"); got != path || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if environ := Environ(); environ[len(environ)-1] != "PATH=/nonexistent:"+dir {
		t.Errorf("environment %q", environ)
	}
	if err := New(t.Context(), "none").Run(); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestFailure(t *testing.T) {
	cmd := New(t.Context(), "apt-get")
	cause := errors.New("exit status 1")
	err := Failure(t.Context(), cmd, cause, "one\ntwo\nthree\nE: http://user:pass@mirror is gone\n")
	if want := "running apt-get: exit status 1: two; three; E: http://mirror is gone"; !errors.Is(err, cause) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	if err := Failure(ctx, cmd, cause, ""); !errors.Is(err, stopped) {
		t.Errorf("error %v", err)
	}
}
