package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// After a signal the program ends within ten seconds, whatever hangs.
func TestSignalEnds(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("pipelines")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "tree"))); err != nil {
		t.Fatal(err)
	}
	pipe, begun := filepath.Join(dir, "pipe"), filepath.Join(dir, "begun")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	stubborn := "#!/bin/sh\ntrap '' TERM INT\ntouch " + begun + "\nwhile :; do sleep 1; done\n"
	for _, name := range []string{"docker", "git"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(stubborn), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	registry := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := os.WriteFile(begun, nil, 0o644); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	}))
	defer registry.Close()
	plan := []string{"plan", "--all", "--arch", "x86_64"}
	for name, test := range map[string]struct {
		args     []string
		variable string
		signals  int
		within   time.Duration
	}{
		"a pipe that nobody reads":   {plan, "GITHUB_STEP_SUMMARY=" + pipe, 1, 10 * time.Second},
		"nobody reads stderr":        {plan, "GITHUB_STEP_SUMMARY=" + pipe, 1, 10 * time.Second},
		"two signals":                {plan, "GITHUB_STEP_SUMMARY=" + pipe, 2, 3 * time.Second},
		"a registry without answers": {append(plan, "--cache", strings.TrimPrefix(registry.URL, "http://")+"/x"), "", 1, 10 * time.Second},
		"a client that ignores it":   {[]string{"doctor"}, "", 1, 10 * time.Second},
		"git that ignores it":        {[]string{"check", "--base", "main"}, "", 1, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(begun)
			stdout, err := os.Create(filepath.Join(dir, "stdout"))
			if err != nil {
				t.Fatal(err)
			}
			defer stdout.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program, test.args...)
			cmd.Dir, cmd.Stdout = dir, stdout
			cmd.Env = append(os.Environ(), "KATA_PIPELINES_CACHE="+filepath.Join(dir, "cache"), "PATH="+dir+":"+os.Getenv("PATH"), test.variable)
			if name == "nobody reads stderr" {
				cmd.Stderr = fullPipe(t)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// The plan is printed before the summary.
			waitUntil(t, func() bool {
				info, err := stdout.Stat()
				return err == nil && info.Size() > 0 || files.Exists(begun)
			})
			start := time.Now()
			for range test.signals {
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the program succeeded")
			}
			if took := time.Since(start); took > test.within {
				t.Errorf("the program ended after %s", took)
			}
		})
	}
}

func waitUntil(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

// fullPipe returns the writing end of a pipe that takes nothing more.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(reader.Close(), writer.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := writer.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a pipe took 1 MiB that nobody read: %v", err)
	}
	return writer
}
