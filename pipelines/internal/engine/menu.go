package engine

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dagger.io/dagger"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// Where things of the menu are in the container.
const (
	menuPath     = "/kata/menu"
	bridgePath   = menuPath + "/bridge.py"
	socketPath   = menuPath + "/terminal"
	minimalPath  = menuPath + "/minimal"
	defaultsPath = menuPath + "/defaults"
)

// lastWords is how long what the menu wrote last may be under way.
const lastWords = 2 * time.Second

// bridge connects the kernel's menu, on a terminal of its own, to a socket.
//
//go:embed menu_bridge.py
var bridge string

// menuPackages adds what the menu needs and a builder has no other use for.
const menuPackages = `set -eu
if [ -e /usr/include/ncurses.h ] && command -v pkg-config python3; then exit; fi
export DEBIAN_FRONTEND=noninteractive
apt-get -o Acquire::Retries=3 update
apt-get -o Acquire::Retries=3 install --yes --no-install-recommends -- libncurses-dev pkgconf python3`

// reduce has Linux say which options of a configuration a person can set.
const reduce = `set -eu
make ARCH="$KERNEL_ARCH" savedefconfig
mv defconfig "$0"
make --silent ARCH="$KERNEL_ARCH" KCONFIG_CONFIG="$0" listnewconfig >"$1"`

// Saved is the configuration of a kernel before and after a person saw its menu.
type Saved struct {
	Before, After []byte
	// Minimal are the statements of After that are not as by default, Defaults
	// all others that a person can set. They are empty where nothing was saved.
	Minimal, Defaults []byte
}

// Menu runs the steps of a recipe up to the configuration of its kernel, and
// opens the kernel's menu of that on the terminal. A menu that was left without
// saving has After as Before.
func (s *Session) Menu(ctx context.Context, job Job, terminal Terminal) (saved Saved, err error) {
	err = s.watched(ctx, func(ctx context.Context) error {
		saved, err = s.menu(ctx, job, terminal)
		return err
	})
	return saved, err
}

func (s *Session) menu(ctx context.Context, job Job, terminal Terminal) (saved Saved, err error) {
	var config string
	if job.Recipe, config, err = configuring(job.Recipe); err != nil {
		return Saved{}, err
	}
	if err := job.complete(); err != nil {
		return Saved{}, err
	}
	builder, err := s.builder(ctx, job, &Record{})
	if err != nil {
		return Saved{}, fmt.Errorf("preparing the builder: %w", err)
	}
	configured, err := s.steps(ctx, builder, job)
	if err != nil {
		return Saved{}, err
	}
	if saved.Before, err = contents(ctx, configured, config); err != nil {
		return Saved{}, err
	}
	// The menu gets a container of its own: what it needs depends on the builder
	// alone, so that the engine's cache knows it again, and a build never sees it.
	err = job.stage("menu", func() (string, error) {
		builder, err = s.exec(ctx, builder, job.Log, "sh", "-c", menuPackages)
		return "", err
	})
	if err != nil {
		return Saved{}, fmt.Errorf("installing what the menu needs: %w", err)
	}
	container := s.furnish(builder, configured.Directory(buildPath), job).
		WithWorkdir(path.Dir(config)).
		WithNewFile(bridgePath, bridge)
	if container, err = s.show(ctx, container, job, terminal); err != nil {
		return Saved{}, fmt.Errorf("the kernel's menu did not end as it should, so nothing of it is taken: %w", err)
	}
	if saved.After, err = contents(ctx, container, config); err != nil || slices.Equal(saved.Before, saved.After) {
		return saved, err
	}
	if container, err = s.exec(ctx, container, job.Log, "sh", "-c", reduce, minimalPath, defaultsPath); err != nil {
		return Saved{}, fmt.Errorf("asking Linux which options can be set: %w", err)
	}
	if saved.Minimal, err = contents(ctx, container, minimalPath); err != nil {
		return Saved{}, err
	}
	saved.Defaults, err = contents(ctx, container, defaultsPath)
	return saved, err
}

// configuring returns the part of a recipe that ends with the configuration of
// its kernel, and the path of that. Nobody builds with it, so it has neither
// secrets nor dependencies.
func configuring(r recipe.Recipe) (recipe.Recipe, string, error) {
	last := slices.IndexFunc(r.Steps, func(step recipe.Step) bool { return step.Config != "" })
	if last < 0 {
		return r, "", fmt.Errorf("%s has no step that configures a kernel", r.Asset)
	}
	config := r.Steps[last].Config
	if !strings.HasPrefix(config, buildPath+"/") {
		return r, "", fmt.Errorf("step %q of %s leaves its configuration at %s: the menu needs it below %s", r.Steps[last].Name, r.Asset, config, buildPath)
	}
	r.Steps, r.Secrets, r.Dependencies = r.Steps[:last+1], nil, nil
	return r, config, nil
}

func contents(ctx context.Context, container *dagger.Container, file string) ([]byte, error) {
	text, err := container.File(file).Contents(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return []byte(text), nil
}

// show runs the menu, and serves it on the terminal over a socket.
func (s *Session) show(ctx context.Context, container *dagger.Container, job Job, terminal Terminal) (*dagger.Container, error) {
	folder, err := os.MkdirTemp("", "kata-menu-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the terminal's socket: %w", err)
	}
	defer os.RemoveAll(folder)
	socket := filepath.Join(folder, "terminal")
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listening for the menu: %w", err)
	}
	defer listener.Close()
	// Closing ends a wait for the menu; that nothing waited any more is no failure.
	hangUp := func() { _ = listener.Close() }
	defer context.AfterFunc(ctx, hangUp)()

	serving, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		var err error
		container, err = container.
			WithUnixSocket(socketPath, s.client.Host().UnixSocket(socket)).
			// No cache knows what a person will do.
			WithEnvVariable(nonceVariable, rand.Text()).
			WithEnvVariable("TERM", terminal.Type).
			WithExec([]string{"sh", "-c", `exec python3 "$0" "$1" make ARCH="$KERNEL_ARCH" menuconfig`, bridgePath, socketPath}).
			Sync(ctx)
		ended <- err
		hangUp()
		time.AfterFunc(lastWords, stop)
	}()
	conn, err := listener.Accept()
	if err == nil {
		err = terminal.serve(serving, conn)
	}
	// Without a connection, the end of the command says why there was none.
	if ran := <-ended; ran != nil {
		return nil, s.menuFailure(ran, job)
	}
	if err != nil {
		return nil, fmt.Errorf("serving the terminal: %w", err)
	}
	// Nobody listens any more: with its socket, no other command would start.
	return container.WithoutUnixSocket(socketPath), nil
}

// menuFailure has the log show what the bridge said, if it came to that. Unlike a
// build, a menu loses its connection as soon as an engine dies.
func (s *Session) menuFailure(err error, job Job) error {
	var failed *dagger.ExecError
	if !errors.As(err, &failed) {
		if why := s.Endpoint.Explain(); why != "" {
			return errors.New(why)
		}
		return err
	}
	fmt.Fprintf(job.Log, "%s%s\n", failed.Stdout, failed.Stderr)
	return &ExitError{Code: failed.ExitCode}
}
