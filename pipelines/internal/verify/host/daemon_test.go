package host_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
)

// The tests run this very program again, as a daemon.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "serve" {
		os.Exit(serve(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// serve listens on the socket until it is asked to end.
func serve(mode, socket string) int {
	fmt.Fprintln(os.Stderr, "beginning")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	switch mode {
	case "fails":
		fmt.Fprintln(os.Stderr, "no such configuration")
		return 3
	case "silent":
		<-stop
		return 0
	}
	os.Remove(socket)
	listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer listener.Close()
	<-stop
	if mode == "stubborn" {
		select {}
	}
	return 0
}

func spec(t *testing.T, mode string) host.DaemonSpec {
	t.Helper()
	dir := t.TempDir()
	program, err := os.Executable()
	require.NoError(t, err)
	socket := filepath.Join(dir, "s")
	return host.DaemonSpec{
		Program: program, Args: []string{"serve", mode, socket},
		Socket: socket, Log: filepath.Join(dir, "log"), Ready: 5 * time.Second,
	}
}

func TestStartAndStop(t *testing.T) {
	s := spec(t, "good")
	for range 2 {
		d, err := host.StartDaemon(t.Context(), s)
		require.NoError(t, err)
		if err := d.Stop(5 * time.Second); err != nil {
			t.Error(err)
		}
		if err := d.Stop(time.Second); err == nil || !strings.Contains(err.Error(), "had ended by itself") {
			t.Errorf("stopped twice: %v", err)
		}
	}
	if log, err := os.ReadFile(s.Log); err != nil || strings.Count(string(log), "beginning") != 2 {
		t.Errorf("the log is %q, %v", log, err)
	}
}

// The socket of a killed daemon stays, and does not pass for that of the next one.
func TestKill(t *testing.T) {
	s := spec(t, "good")
	d, err := host.StartDaemon(t.Context(), s)
	require.NoError(t, err)
	require.NoError(t, d.Kill())
	if _, err := os.Stat(s.Socket); err != nil {
		t.Errorf("it was not killed but ended: %v", err)
	}
	if d, err = host.StartDaemon(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(5 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestBadDaemons(t *testing.T) {
	for mode, want := range map[string]string{
		"fails":  "ended before it served: exit status 3\nbeginning\nno such configuration",
		"silent": "does not serve on",
	} {
		t.Run(mode, func(t *testing.T) {
			s := spec(t, mode)
			if mode == "silent" {
				s.Ready = 300 * time.Millisecond
			}
			if _, err := host.StartDaemon(t.Context(), s); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	s := spec(t, "good")
	s.Program += "-is-not-there"
	if _, err := host.StartDaemon(t.Context(), s); err == nil {
		t.Error("a program that is not there was started")
	}
}

func TestStubborn(t *testing.T) {
	d, err := host.StartDaemon(t.Context(), spec(t, "stubborn"))
	require.NoError(t, err)
	if err := d.Stop(200 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "did not stop within 200ms") {
		t.Errorf("got %v", err)
	}
	if err := d.Kill(); err != nil {
		t.Error(err)
	}
}
