package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// After a response with the wrong range, everything is requested. A partial file keeps its
// content unless that is wrong.
func TestDownload(t *testing.T) {
	content := bytes.Repeat([]byte("kata\n"), 1000)
	sum := sha256.Sum256(content)
	serve := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
	whole := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }
	broken := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5000")
		_, _ = w.Write(content[:500])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, test := range map[string]struct {
		handlers []http.HandlerFunc
		asked    int64
		// left is the size of the partial file, -1 for none.
		left int64
	}{
		"resumed":       {[]http.HandlerFunc{serve}, 1, -1},
		"another range": {[]http.HandlerFunc{status(206, "Content-Range", "bytes 0-9/5000"), serve}, 2, -1},
		"refused":       {[]http.HandlerFunc{status(403)}, 1, 1000},
		"no ranges":     {[]http.HandlerFunc{whole}, 1, -1},
		"less":          {[]http.HandlerFunc{status(200, "Content-Length", "0"), serve}, 2, -1},
		"too long":      {[]http.HandlerFunc{status(200, "Content-Length", "5001")}, 1, -1},
		// A connection lost while the known bytes are skipped costs nothing.
		"refused after a break": {[]http.HandlerFunc{broken, status(403)}, 2, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			var q quick
			server, asked := answers(t, test.handlers...)
			dir := t.TempDir()
			path, partial := filepath.Join(dir, "whole"), filepath.Join(dir, "partial")
			require.NoError(t, os.WriteFile(partial, content[:1000], 0o600))
			pace := q.pace()
			pace.Tries = 3
			d := Download{
				Client: NewClient(Options{Pace: pace}), URL: server.URL, SHA256: hex.EncodeToString(sum[:]), Size: 5000,
				Notes: (*progress.Stage)(nil), Pace: pace,
			}
			err := d.File(t.Context(), path, partial, 0o444)
			if whole := !strings.HasPrefix(name, "refused") && name != "too long"; whole != (err == nil) {
				t.Errorf("got %v", err)
			} else if got, _ := os.ReadFile(path); whole && !bytes.Equal(got, content) {
				t.Errorf("the file has %d bytes", len(got))
			}
			left := int64(-1)
			if info, err := os.Stat(partial); !errors.Is(err, os.ErrNotExist) {
				left = info.Size()
			}
			if left != test.left || asked.Load() != test.asked {
				t.Errorf("%d bytes are left after %d requests, want %d after %d", left, asked.Load(), test.left, test.asked)
			}
		})
	}
}

// TestEndlessDownload has content of undeclared size: it is refused if the response
// declares more than MaxUnsized.
func TestEndlessDownload(t *testing.T) {
	server, asked := answers(t, status(200, "Content-Length", strconv.FormatInt(MaxUnsized+1, 10)))
	dir := t.TempDir()
	d := Download{Client: NewClient(Options{}), URL: server.URL, SHA256: strings.Repeat("a", 64), Size: -1, Notes: (*progress.Stage)(nil)}
	err := d.File(t.Context(), filepath.Join(dir, "whole"), filepath.Join(dir, "partial"), 0o444)
	var other *Mismatch
	if !errors.As(err, &other) || other.Size != MaxUnsized+1 || asked.Load() != 1 {
		t.Errorf("got %v after %d requests", err, asked.Load())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A folder at the path of the partial file is an error if it cannot be removed.
func TestIrregularPartial(t *testing.T) {
	dir := t.TempDir()
	partial := filepath.Join(dir, "partial")
	require.NoError(t, os.MkdirAll(filepath.Join(partial, "of somebody"), 0o755))
	var d Download
	if err := d.File(t.Context(), filepath.Join(dir, "whole"), partial, 0o444); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("got %v", err)
	}
}

// An endless response, for content of undeclared size, does not fill the disk.
func TestDownloadWithoutEnd(t *testing.T) {
	server, _ := answers(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	dir := t.TempDir()
	d := Download{Client: NewClient(Options{}), URL: server.URL, SHA256: "x", Size: -1, Most: 1 << 20, Pace: Pace{Tries: 2}}
	var other *Mismatch
	if err := d.File(t.Context(), filepath.Join(dir, "whole"), filepath.Join(dir, "partial"), 0o444); !errors.As(err, &other) || other.Size != d.Most {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
