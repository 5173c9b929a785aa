package archive

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRemovePartial(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	if err := RemovePartial(out); err != nil {
		t.Errorf("nothing there: %v", err)
	}
	partial, err := openPartial(partialOf(out))
	if err != nil {
		t.Fatal(err)
	}
	if err := RemovePartial(out); err != nil {
		t.Errorf("being written: %v", err)
	}
	if _, err := os.Stat(partial.Name()); err != nil {
		t.Errorf("the file of another process is gone: %v", err)
	}
	if err := partial.Close(); err != nil {
		t.Fatal(err)
	}
	if err := RemovePartial(out); err != nil {
		t.Error(err)
	}
	wantEmpty(t, filepath.Dir(out))
}

// TestMergeGoesOn has what a killed run leaves, right and wrong.
func TestMergeGoesOn(t *testing.T) {
	components := kernelAndQEMU(t)
	out := filepath.Join(t.TempDir(), "out")
	want := writeMerged(t, plan(t, components, versionFile), out)
	whole, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(whole[:chunk+100])
	wrong[chunk+50] ^= 1
	for name, before := range map[string][]byte{
		"empty": {}, "half": whole[:len(whole)/2], "whole": whole, "longer": append(bytes.Clone(whole), "more"...),
		"torn": append(bytes.Clone(whole[:2*chunk]), make([]byte, chunk)...), "wrong": wrong, "other": make([]byte, 3*chunk),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, ".out.partial"), before, 0o600); err != nil {
				t.Fatal(err)
			}
			got := writeMerged(t, plan(t, components, versionFile), filepath.Join(dir, "out"))
			data, err := os.ReadFile(filepath.Join(dir, "out"))
			if err != nil || got.SHA256 != want.SHA256 || !bytes.Equal(data, whole) {
				t.Errorf("wrote %d bytes with %s, want %d with %s: %v", len(data), got.SHA256, len(whole), want.SHA256, err)
			}
		})
	}
}

// TestCopierWritesOnce uses a file that cannot be written.
func TestCopierWritesOnce(t *testing.T) {
	data := code(3*chunk+100, 5)
	path := filepath.Join(t.TempDir(), "partial")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	same, other := newCopier(file, nil), newCopier(file, nil)
	if err := same.copy(t.Context(), bytes.NewReader(data)); err != nil {
		t.Errorf("bytes that are there: %v", err)
	}
	if err := other.copy(t.Context(), bytes.NewReader(code(3*chunk+101, 5)[1:])); err == nil {
		t.Error("other bytes: no error")
	}
}

func TestMergeCancelled(t *testing.T) {
	m := plan(t, kernelAndQEMU(t))
	into := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	m.Progress = func(done int64) {
		if done > chunk {
			cancel()
		}
	}
	if err := m.Write(ctx, filepath.Join(into, "out")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantEmpty(t, into)
}

// TestMergeOnlyOneWrites starts a second run while the first one writes.
func TestMergeOnlyOneWrites(t *testing.T) {
	components := kernelAndQEMU(t)
	m, second := plan(t, components), plan(t, components)
	out := filepath.Join(t.TempDir(), "out")
	var err error
	m.Progress = func(int64) {
		if err == nil {
			err = second.Write(t.Context(), out)
		}
	}
	writeMerged(t, m, out)
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("the second one: %v", err)
	}
	if err := open(t, out).Check(t.Context()); err != nil {
		t.Error(err)
	}
}
