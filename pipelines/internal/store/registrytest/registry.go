// Package registrytest runs registries for tests: one in this process, or the
// distribution's, and injects faults between them and a client. Only tests import it.
package registrytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// New starts an empty registry in this process, until the test ends, and returns its
// HOST:PORT.
func New(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(Handler(false))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// Handler returns an empty registry for the caller's own server, with or without the API
// for referrers.
func Handler(referrers bool) http.Handler {
	plain := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers))
	return &removal{Handler: plain, digests: map[string]string{}, tags: map[string]map[string]bool{}}
}

// User and Password are the credentials of a registry that StartDistribution starts with
// a login.
const (
	User     = "kata"
	Password = "containers"
)

// login is the line for them in an htpasswd file.
const login = User + ":$2b$04$OnYicME4cKxgcfwVGH3HXuDBAXL44.t5zf5eFoXlbMBU4Jo/RCgIW"

// Server is a running registry of the distribution.
type Server struct {
	// Host is its HOST:PORT, Storage the folder of its content.
	Host, Storage string
	binary        string
	config        string
	command       *exec.Cmd
	output        bytes.Buffer
}

// Distribution starts an empty registry of the distribution's package docker-registry,
// until the test ends, and returns its HOST:PORT. It downloads the package once, and
// does not install it.
func Distribution(t testing.TB) string {
	t.Helper()
	return StartDistribution(t, false).Host
}

// StartDistribution is Distribution for tests that stop the registry or change its
// storage. With a login, the registry requires User and Password for every request.
func StartDistribution(t testing.TB, withLogin bool) *Server {
	t.Helper()
	binary, err := install(t.Context())
	if err != nil {
		t.Fatalf("finding docker-registry: %v", err)
	}
	s := &Server{binary: binary, Storage: t.TempDir()}
	// Closing this server frees its port, which the system does not reuse at once.
	free := httptest.NewServer(nil)
	free.Close()
	s.Host = strings.TrimPrefix(free.URL, "http://")
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", s.Storage, s.Host)
	folder := t.TempDir()
	if withLogin {
		users := filepath.Join(folder, "htpasswd")
		if err := os.WriteFile(users, []byte(login+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", users)
	}
	s.config = filepath.Join(folder, "config.yml")
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// Start starts the registry, also after Stop.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	// The test's context would end before the cleanups.
	s.command = exec.CommandContext(context.WithoutCancel(t.Context()), s.binary, "serve", s.config)
	s.command.Stdout, s.command.Stderr = &s.output, &s.output
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if s.answers(t.Context()) {
			return
		}
		if time.Now().After(deadline) {
			s.Stop(t)
			t.Fatalf("docker-registry does not answer:\n%s", s.output.String())
		}
	}
}

func (s *Server) answers(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Host+"/v2/", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK || response.StatusCode == http.StatusUnauthorized
}

// Stop kills the registry. Its content stays until the test ends.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.command == nil {
		return
	}
	if err := s.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	_ = s.command.Wait()
	s.command = nil
}

// install returns the path of the program. Unless it is installed or was extracted
// before, install downloads the package and extracts it.
func install(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("docker-registry"); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "kata-pipelines-tests")
	kept := filepath.Join(cache, "docker-registry")
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// The sandbox user of apt has no access to this folder.
	command := exec.CommandContext(ctx, "sh", "-ec", `folder=$(mktemp -d -p . download-XXXXXX); trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"; cd "$folder"
apt-get -q -o APT::Sandbox::User=root download docker-registry
dpkg -x docker-registry_*.deb .
mv usr/bin/docker-registry ..; cd ..`)
	command.Dir = cache
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, output)
	}
	return kept, nil
}
