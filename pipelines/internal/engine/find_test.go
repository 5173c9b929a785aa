package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/engine/embedded"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// client puts a test double of a container client into a folder: its daemon
// answers or not.
func client(t *testing.T, dir, name string, answers bool) {
	t.Helper()
	script := "#!/bin/sh\n[ \"$1\" = info ] && exit 0\nexit 1\n"
	if !answers {
		script = "#!/bin/sh\n[ \"$1\" = version ] && exit 0\necho cannot connect to the daemon >&2\nexit 1\n"
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
}

func TestChoose(t *testing.T) {
	for name, test := range map[string]struct {
		named   string
		env     map[string]string
		clients map[string]bool
		root    bool
		want    Kind
	}{
		"named before all":           {"tcp://host:1", map[string]string{runnerHostVariable: "x"}, map[string]bool{"docker": true}, true, Named},
		"environment before docker":  {"", map[string]string{runnerHostVariable: "x"}, map[string]bool{"docker": true}, true, Variables},
		"session of a dagger run":    {"", map[string]string{sessionPortVariable: "1"}, nil, true, Variables},
		"docker before podman":       {"", nil, map[string]bool{"docker": true, "podman": true}, true, Docker},
		"docker without a daemon":    {"", nil, map[string]bool{"docker": false, "podman": true}, true, Podman},
		"nerdctl":                    {"", nil, map[string]bool{"nerdctl": true}, false, Nerdctl},
		"client without a daemon":    {"", nil, map[string]bool{"docker": false}, true, Embedded},
		"nothing, but root":          {"", nil, nil, true, Embedded},
		"nothing, and not even root": {"", nil, map[string]bool{"docker": false}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for name, answers := range test.clients {
				client(t, dir, name, answers)
			}
			t.Setenv("PATH", dir)
			finder := NewFinder(func(key string) string { return test.env[key] })
			finder.Named, finder.Root = test.named, test.root
			endpoint, err := finder.Choose(t.Context())
			if endpoint.Kind != test.want {
				t.Errorf("chose %q (%v), want %q", endpoint.Kind, err, test.want)
			}
			if (test.want == "") != errors.Is(err, ErrNoEngine) {
				t.Errorf("error = %v", err)
			}
		})
	}
}

// TestVersions compares the three places that name Dagger's version.
func TestVersions(t *testing.T) {
	if got := SDKVersion(); got != embedded.Version {
		t.Errorf("the SDK is %s, the embedded engine %s", got, embedded.Version)
	}
	nested, err := os.ReadFile("../../dagger-engine/go.mod")
	require.NoError(t, err)
	if line := "github.com/dagger/dagger " + embedded.Version + "\n"; !strings.Contains(string(nested), line) {
		t.Errorf("the nested module does not require %s", line)
	}
}

func TestEndpointWithoutAnEngine(t *testing.T) {
	var endpoint Endpoint
	endpoint.Release()
	if text := endpoint.embedded.Explain(); text != "" {
		t.Errorf("Explain = %q", text)
	}
}

// The path of the CLI is in the environment only while the SDK connects: later
// children of this process do not get it, and a second build looks for its own.
func TestCLIVariableIsScoped(t *testing.T) {
	t.Setenv(cliVariable, "/the/callers")
	require.NoError(t, os.Unsetenv(cliVariable))
	cli, seen := filepath.Join(t.TempDir(), "dagger"), filepath.Join(t.TempDir(), "seen")
	script := "#!/bin/sh\necho \"$" + cliVariable + "\" > " + seen + "\nexit 1\n"
	require.NoError(t, os.WriteFile(cli, []byte(script), 0o755))
	for before, want := range map[string]string{"": "", "/the/callers": "/the/callers"} {
		if before != "" {
			t.Setenv(cliVariable, before)
		}
		if _, err := Connect(t.Context(), Endpoint{Kind: Named, CLI: cli}); err == nil {
			t.Fatal("a failing CLI returned a session")
		}
		if data, err := os.ReadFile(seen); err != nil || string(data) != cli+"\n" {
			t.Errorf("the CLI saw %q, %v", data, err)
		}
		if got := os.Getenv(cliVariable); got != want {
			t.Errorf("afterwards %s is %q, want %q", cliVariable, got, want)
		}
		require.NoError(t, os.Unsetenv(cliVariable))
	}
}

// The CLI gets the variables of every command, of the clients and of Dagger, but no others.
// A session ends when its CLI has ended.
func TestCLIGetsNoSecretsAndEnds(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"data": {"version": "`+embedded.Version+`"}}`)
	}))
	defer server.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nenv > %[1]s/env\necho '{\"port\": %[2]s, \"session_token\": \"t\"}'\ncat > /dev/null\nsleep 0.3\ntouch %[1]s/ended\n", dir, port)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dagger"), []byte(script), 0o755))
	for _, name := range []string{
		"KBUILD_SIGN_PIN", "GH_TOKEN", "ARTEFACT_REGISTRY_PASSWORD", "DOCKER_PASSWORD",
		"DAGGER_SECRET", "XDG_SECRET", "CONTAINERD_SECRET",
	} {
		t.Setenv(name, "hidden-value")
	}
	t.Setenv("DOCKER_HOST", "tcp://docker")
	t.Setenv("DAGGER_CLOUD_TOKEN", "cloud")
	t.Setenv("DAGGER_QUIET", "3") // execLog would read nothing.
	t.Setenv("NO_COLOR", "0")
	session, err := Connect(t.Context(), Endpoint{Kind: Named, CLI: filepath.Join(dir, "dagger")})
	require.NoError(t, err)
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ended")); err != nil {
		t.Errorf("the CLI outlives its session: %v", err)
	}
	environ, err := os.ReadFile(filepath.Join(dir, "env"))
	require.NoError(t, err)
	for _, want := range []string{
		"DOCKER_HOST=tcp://docker", "DAGGER_CLOUD_TOKEN=cloud", "DAGGER_QUIET=",
		"PATH=" + os.Getenv("PATH"), "DAGGER_PROGRESS=plain", "NO_COLOR=1",
	} {
		if !strings.Contains(string(environ), want+"\n") {
			t.Errorf("the CLI does not get %s", want)
		}
	}
	if strings.Contains(string(environ), "hidden-value") {
		t.Errorf("the CLI gets secrets:\n%s", environ)
	}
}

// The clients of container runtimes get the variables that they read, and none of Dagger's.
func TestClientsGetNoSecrets(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\nenv > "+dir+"/env\n"), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, name := range []string{
		"DAGGER_CLOUD_TOKEN", "_EXPERIMENTAL_DAGGER_CACHE_CONFIG", "XDG_SECRET", "CONTAINERS_SECRET", "NERDCTL_SECRET",
	} {
		t.Setenv(name, "hidden-value")
	}
	t.Setenv("DOCKER_HOST", "tcp://docker")
	if !daemonAnswers(t.Context(), "docker") {
		t.Fatal("the daemon does not answer")
	}
	environ, err := os.ReadFile(filepath.Join(dir, "env"))
	require.NoError(t, err)
	if text := string(environ); !strings.Contains(text, "DOCKER_HOST=tcp://docker\n") || strings.Contains(text, "hidden-value") {
		t.Errorf("docker gets\n%s", text)
	}
}

// The CLI of a cancelled connection does not outlive it.
func TestConnectIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\ntouch %[1]s/begun\ncat > /dev/null\nsleep 0.3\ntouch %[1]s/ended\n", dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dagger"), []byte(script), 0o755))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for !files.Exists(filepath.Join(dir, "begun")) {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := Connect(ctx, Endpoint{Kind: Named, CLI: filepath.Join(dir, "dagger")}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if !files.Exists(filepath.Join(dir, "ended")) {
		t.Error("the CLI outlives the attempt to connect")
	}
}
