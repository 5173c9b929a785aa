package oci

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// A run that is stopped while it rebuilds a damaged index leaves the index in place.
func TestStoppedRebuild(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := &Layout{Root: filepath.Join(t.TempDir(), "layout"), Locks: t.TempDir(), Name: func(Manifest) (string, error) {
		cancel()
		return "a", nil
	}}
	damage(t, l)
	if _, err := l.Index(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if data, err := os.ReadFile(l.indexPath()); err != nil || string(data) != "{" {
		t.Errorf("the index is %q, %v", data, err)
	}
	if index, err := l.Index(t.Context()); err != nil || len(index.Manifests) != 1 {
		t.Errorf("the next run has %v, %v", index.Manifests, err)
	}
}

// A damaged read-only layout is searched for manifests once, not at each lookup.
func TestReadOnlyLayout(t *testing.T) {
	var looked int
	l := &Layout{Root: filepath.Join(t.TempDir(), "layout"), Locks: t.TempDir(), Name: func(Manifest) (string, error) {
		looked++
		return "a", nil
	}}
	damage(t, l)
	l.Locks = "/sys/locks" // Not even root can create a folder there.
	for range 3 {
		if _, err := l.Manifest(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}
	if looked != 2 { // The config is JSON, too.
		t.Errorf("read %d documents, want 2", looked)
	}
}

// damage adds a manifest to a layout and damages its index.
func damage(t *testing.T, l *Layout) {
	t.Helper()
	m, blobs := small(t)
	err := l.Add(t.Context(), "a", m, blobs)
	require.NoError(t, errors.Join(err, os.WriteFile(l.indexPath(), []byte("{"), 0o644)))
}
