//go:build linux

package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	long := bytes.Repeat([]byte("x"), maxFrame)
	for _, payload := range [][]byte{nil, {0}, []byte("\x1b[A"), long} {
		if err := writeFrame(&b, frameKeys, payload); err != nil {
			t.Fatal(err)
		}
		kind, got, err := readFrame(&b)
		if kind != frameKeys || !bytes.Equal(got, payload) || err != nil {
			t.Errorf("%d bytes came back as kind %q, %d bytes, %v", len(payload), kind, len(got), err)
		}
	}
	if _, _, err := readFrame(&b); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if got := sizeFrame(40, 300); !bytes.Equal(got, []byte{0, 40, 1, 44}) {
		t.Errorf("40 lines, 300 columns: % x", got)
	}
	for text, want := range map[string]error{
		"k":                   io.ErrUnexpectedEOF,
		"k\x00\x00\x00\x02x":  io.ErrUnexpectedEOF,
		"k\x00\x00\x00\x02":   io.ErrUnexpectedEOF,
		"k\xff\xff\xff\xffxx": nil,
	} {
		if _, _, err := readFrame(strings.NewReader(text)); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func TestConfiguring(t *testing.T) {
	steps := []recipe.Step{{Name: "unpack"}, {Name: "configure", Config: "/build/linux/.config"}, {Name: "build"}}
	whole := recipe.Recipe{Asset: "kernel", Steps: steps, Secrets: []recipe.Secret{{Name: "PIN"}}, Dependencies: []recipe.Dependency{{Asset: "agent"}}}
	got, config, err := configuring(whole)
	if err != nil || config != "/build/linux/.config" {
		t.Fatalf("%q, %v", config, err)
	}
	if diff := cmp.Diff(recipe.Recipe{Asset: "kernel", Steps: steps[:2]}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(whole.Steps) != 3 || len(whole.Secrets) != 1 {
		t.Errorf("the recipe itself was changed: %+v", whole)
	}
	for want, steps := range map[string][]recipe.Step{
		"qemu has no step that configures a kernel":                                                     steps[:1],
		`step "configure" of qemu leaves its configuration at /.config: the menu needs it below /build`: {{Name: "configure", Config: "/.config"}},
	} {
		if _, _, err := configuring(recipe.Recipe{Asset: "qemu", Steps: steps}); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// person is a terminal with somebody at it.
type person struct {
	t        *testing.T
	terminal Terminal
	screen   *os.File
	seen     string
}

func sit(t *testing.T) *person {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	// Fd would have reads of the file never time out.
	raw, err := screen.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	err = raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	p := &person{t: t, terminal: Terminal{File: file, Type: "xterm"}, screen: screen}
	p.resize(24, 80)
	return p
}

func (p *person) resize(lines, columns uint16) {
	p.t.Helper()
	if err := unix.IoctlSetWinsize(int(p.terminal.File.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: lines, Col: columns}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) sees(text string) {
	p.t.Helper()
	buffer := make([]byte, 4096)
	for !strings.Contains(p.seen, text) {
		if err := p.screen.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			p.t.Fatal(err)
		}
		n, err := p.screen.Read(buffer)
		if err != nil {
			p.t.Fatalf("waiting for %q: %v; seen: %q", text, err, p.seen)
		}
		p.seen += string(buffer[:n])
	}
	_, p.seen, _ = strings.Cut(p.seen, text)
}

func (p *person) types(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.screen, text); err != nil {
		p.t.Fatal(err)
	}
}

// settings are those of the terminal, raw or not.
func (p *person) settings() unix.Termios {
	p.t.Helper()
	settings, err := unix.IoctlGetTermios(int(p.terminal.File.Fd()), unix.TCGETS)
	if err != nil {
		p.t.Fatal(err)
	}
	return *settings
}

// run has the bridge run a command, and serves it on the person's terminal. Wait
// returns the bridge's exit code and the error of serve.
func (p *person) run(ctx context.Context, command ...string) (wait func() (int, error)) {
	p.t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		p.t.Skip("the bridge is a program for python3")
	}
	socket := filepath.Join(p.t.TempDir(), "s")
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = listener.Close() })
	cmd := exec.CommandContext(p.t.Context(), "python3", append([]string{"menu_bridge.py", socket}, command...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm-nobody-knows")
	cmd.Stdout, cmd.Stderr = p.t.Output(), p.t.Output()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = p.terminal.serve(ctx, conn)
		}
		served <- err
	}()
	return func() (int, error) {
		p.t.Helper()
		err := <-served
		var failed *exec.ExitError
		if ended := cmd.Wait(); ended != nil && !errors.As(ended, &failed) {
			p.t.Fatal(ended)
		}
		return cmd.ProcessState.ExitCode(), err
	}
}

func TestTerminal(t *testing.T) {
	p := sit(t)
	before := p.settings()
	wait := p.run(t.Context(), "sh", "-c", `stty size; echo "$TERM"; read key; echo "got $key"
trap 'stty size' WINCH; until read -r key; do :; done; exit 7`)
	p.sees("24 80")
	p.sees("xterm-256color")
	if p.settings() == before {
		t.Error("the terminal is not raw")
	}
	p.types("\x1b[A and more\r")
	p.sees("got \x1b[A and more")
	p.resize(30, 100)
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	p.sees("30 100")
	p.types("\r")
	if code, err := wait(); code != 7 || err != nil {
		t.Errorf("exit code %d, %v; want 7", code, err)
	}
	if p.settings() != before {
		t.Error("the terminal is not as it was")
	}
}

// A menu that is gone, by itself or with its container, gives the terminal back.
func TestTerminalIsGivenBack(t *testing.T) {
	interrupted := errors.New("interrupted")
	for _, test := range []struct {
		name, command, want string
		do                  func(cancel context.CancelCauseFunc)
	}{
		{"this program is interrupted", `echo "ready"; sleep 100`, "interrupted", func(cancel context.CancelCauseFunc) { cancel(interrupted) }},
		{"the bridge is killed", `echo "ready"; sleep 1; kill -9 $PPID; sleep 100`, "the menu is gone: EOF", func(context.CancelCauseFunc) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := sit(t)
			before := p.settings()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			wait := p.run(ctx, "sh", "-c", test.command)
			p.sees("ready")
			test.do(cancel)
			if code, err := wait(); code == 0 || err == nil || err.Error() != test.want {
				t.Errorf("exit code %d, error %v; want %s", code, err, test.want)
			}
			if p.settings() != before {
				t.Error("the terminal is not as it was")
			}
			p.sees(leave[:len(leave)-2])
		})
	}
}

// A person who types more than anybody reads does not stop the output.
func TestTerminalTakesWhatNobodyReads(t *testing.T) {
	p := sit(t)
	wait := p.run(t.Context(), "sh", "-c", `stty raw -echo; echo ready; sleep 1; head -c 200000 /dev/zero | tr '\0' x; echo; head -c 20000 | wc -c`)
	p.sees("ready")
	typed := make(chan struct{})
	go func() {
		defer close(typed)
		io.WriteString(p.screen, strings.Repeat("k", 20000))
	}()
	p.sees("20000")
	<-typed
	if code, err := wait(); code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}
