package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A visitor gets the files with their contents, need not read them to the end, and ends
// the visit with an error.
func TestVisit(t *testing.T) {
	tarball := filepath.Join(t.TempDir(), "x.tar.zst")
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "opt"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "opt", "file"), bytes.Repeat([]byte("content"), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Pack(t.Context(), folder, tarball, Options{Level: 1}); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for want, each := range map[error]func(Member, io.Reader) error{
		nil: func(m Member, content io.Reader) error {
			head := make([]byte, 7)
			if _, err := io.ReadFull(content, head); err != nil || string(head) != "content" || m.Name != "./opt/file" {
				return fmt.Errorf("%s: %q, %w", m.Name, head, err)
			}
			return nil
		},
		refused: func(Member, io.Reader) error { return refused },
	} {
		if _, err := Visit(t.Context(), tarball, each); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}
