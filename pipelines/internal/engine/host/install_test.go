//go:build linux

package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// lines is a writer that sends each line of progress to a channel.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		l <- line
	}
	return len(p), nil
}

// apt puts a test double of apt-get into PATH and returns an installer for it,
// and the lines that it reports.
func apt(t *testing.T, script string) (i installer, dir string, reported lines) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "apt-get"), []byte("#!/bin/sh\ncd "+dir+"\n"+script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	reported = make(lines, 9)
	report := progress.New(reported, progress.Plain, nil)
	t.Cleanup(report.Close)
	return installer{report, filepath.Join(dir, "lock"), filepath.Join(dir, "lists")}, dir, reported
}

func TestInstall(t *testing.T) {
	i, dir, _ := apt(t, `[ $1 = install ] && touch wanted; echo "$1" >> calls; echo "output of $1"`)
	var shown strings.Builder
	i.report = progress.New(&shown, progress.GitHub, nil)
	defer i.report.Close()
	wanted := []Requirement{{Name: filepath.Join(dir, "wanted"), Package: "wanted"}}
	for range 2 { // the second finds it installed
		require.NoError(t, i.install(t.Context(), wanted))
	}
	if calls, _ := os.ReadFile(filepath.Join(dir, "calls")); string(calls) != "update\ninstall\n" {
		t.Errorf("apt-get was called for %q", calls)
	}
	if !strings.Contains(shown.String(), "output of update\ninstalling wanted\noutput of install\n") {
		t.Errorf("shown:\n%s", &shown)
	}
}

func TestInstallationIsFinished(t *testing.T) {
	i, dir, _ := apt(t, `[ $1 = install ] || exit 0; touch begun; sleep 0.3; touch wanted`)
	wanted := Requirement{Name: filepath.Join(dir, "wanted")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for !files.Exists(filepath.Join(dir, "begun")) {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if err := i.install(ctx, []Requirement{wanted}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if !files.Exists(wanted.Name) {
		t.Error("the installation was cut off")
	}
}

func TestUpdateWaitsForAnotherApt(t *testing.T) {
	i, dir, reported := apt(t, `[ -e free ]`)
	lists, err := os.Create(i.lists)
	require.NoError(t, err)
	defer lists.Close()
	// Locks of an open file count as another's, even in one process.
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	require.NoError(t, unix.FcntlFlock(lists.Fd(), unix.F_OFD_SETLK, &lock))
	done := make(chan error, 1)
	go func() { done <- i.update(t.Context(), i.report.Stage("engine", "install")) }()
	if note := <-reported; !strings.Contains(note, "another apt") {
		t.Errorf("noted %q", note)
	}
	require.WriteFile(t, filepath.Join(dir, "free"), "")
	lock.Type = unix.F_UNLCK
	require.NoError(t, unix.FcntlFlock(lists.Fd(), unix.F_OFD_SETLK, &lock))
	if err := <-done; err != nil {
		t.Error(err)
	}
}
