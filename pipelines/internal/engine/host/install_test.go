package host

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// apt puts a test double of apt-get alone into PATH and returns an installer
// for it; each line of notes is sent to the channel.
func apt(t *testing.T, script string) (i installer, dir string, notes chan string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "apt-get"), []byte("#!/bin/sh\ncd "+dir+"\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	notes = make(chan string, 9)
	return installer{
		log: io.Discard, note: func(line string) { notes <- line },
		lock: filepath.Join(dir, "lock"), lists: filepath.Join(dir, "lists"),
	}, dir, notes
}

func TestInstall(t *testing.T) {
	i, dir, _ := apt(t, `[ $1 = install ] && touch wanted; echo "$1" >> calls`)
	wanted := []Requirement{{Name: filepath.Join(dir, "wanted"), Package: "wanted"}}
	for range 2 { // the second finds it installed
		if err := i.install(t.Context(), wanted); err != nil {
			t.Fatal(err)
		}
	}
	if calls, _ := os.ReadFile(filepath.Join(dir, "calls")); string(calls) != "update\ninstall\n" {
		t.Errorf("apt-get was called for %q", calls)
	}
}

func TestInstallationIsFinished(t *testing.T) {
	i, dir, _ := apt(t, `[ $1 = install ] || exit 0; touch begun; sleep 0.3; touch wanted`)
	wanted := Requirement{Name: filepath.Join(dir, "wanted")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for !(Requirement{Name: filepath.Join(dir, "begun")}).Present() {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if err := i.install(ctx, []Requirement{wanted}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if !wanted.Present() {
		t.Error("the installation was cut off")
	}
}

func TestUpdateWaitsForAnotherApt(t *testing.T) {
	i, dir, notes := apt(t, `[ -e free ]`)
	lists, err := os.Create(i.lists)
	if err != nil {
		t.Fatal(err)
	}
	defer lists.Close()
	// Locks of an open file count as another's, even in one process.
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(lists.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- i.update(t.Context(), filepath.Join(dir, "apt-get")) }()
	if note := <-notes; !strings.Contains(note, "another apt") {
		t.Errorf("noted %q", note)
	}
	if err := os.WriteFile(filepath.Join(dir, "free"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	lock.Type = unix.F_UNLCK
	if err := unix.FcntlFlock(lists.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	never := func() { t.Error("waited for a lock that is free") }
	one, err := LockShared(t.Context(), path, never)
	if err != nil {
		t.Fatal(err)
	}
	two, err := LockShared(t.Context(), path, never)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Lock(ctx, path, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if err := errors.Join(one(), two()); err != nil {
		t.Fatal(err)
	}
	alone, err := Lock(t.Context(), path, never)
	if err != nil {
		t.Fatal(err)
	}
	alone()
}

func TestEnviron(t *testing.T) {
	for _, test := range []struct{ in, want []string }{
		{[]string{"PATH=/bin:/sbin", "A=b"}, []string{"A=b", "PATH=/bin:/sbin:/usr/local/sbin:/usr/sbin"}},
		{nil, []string{"PATH=/usr/local/sbin:/usr/sbin:/sbin"}},
	} {
		if got := Environ(test.in); !slices.Equal(got, test.want) {
			t.Errorf("Environ(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

func TestLookPathBeyondPATH(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	// Every distribution has it there, and in no other folder.
	if path, err := LookPath("ldconfig"); err != nil || !strings.HasSuffix(path, "sbin/ldconfig") {
		t.Errorf("got %q, %v", path, err)
	}
	if path, err := LookPath("no-such-program"); err == nil {
		t.Errorf("got %q", path)
	}
}
