package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestSame has files that nearly are the merged tarball.
func TestSame(t *testing.T) {
	m := plan(t, kernelAndQEMU(t), versionFile)
	out := filepath.Join(t.TempDir(), "out")
	writeMerged(t, m, out)
	whole, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-chunk] ^= 1
	for name, test := range map[string]struct {
		data []byte
		want bool
	}{
		"whole": {whole, true}, "empty": {nil, false}, "cut": {whole[:len(whole)-1], false}, "longer": {append(bytes.Clone(whole), 0), false}, "flipped": {flipped, false},
	} {
		if err := os.WriteFile(out, test.data, 0o644); err != nil {
			t.Fatal(err)
		}
		if same, err := m.Same(t.Context(), out); same != test.want || err != nil {
			t.Errorf("%s: %t, %v", name, same, err)
		}
	}
	if same, err := m.Same(t.Context(), out+"x"); same || err != nil {
		t.Errorf("no file: %t, %v", same, err)
	}
}

// hooked calls a function whenever its error is asked for, as each read does.
type hooked struct {
	context.Context
	hook func() error
}

func (h hooked) Err() error { return h.hook() }

func TestMergeCancelled(t *testing.T) {
	m := plan(t, kernelAndQEMU(t))
	into := t.TempDir()
	reads := 0
	ctx := hooked{context.Background(), func() error {
		if reads++; reads > 10 {
			return context.Canceled
		}
		return nil
	}}
	if _, err := m.Write(ctx, filepath.Join(into, "out"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantEmpty(t, into)
}

// TestMergeTwice starts a second merge to the same file while the first one writes,
// and one while another has just published. What is published stays whole.
func TestMergeTwice(t *testing.T) {
	components := kernelAndQEMU(t)
	m, second := plan(t, components), plan(t, components[:2])
	out := filepath.Join(t.TempDir(), "out")
	whole := func() {
		t.Helper()
		if err := open(t, out).check(t.Context(), discard); err != nil {
			t.Error(err)
		}
	}
	reads := 0
	ctx := hooked{context.Background(), func() error {
		if reads++; reads == 5 {
			writeMerged(t, second, out)
			whole()
		}
		if reads > 5 {
			whole() // The first one is being written elsewhere.
		}
		return nil
	}}
	if changed, err := m.Write(ctx, out, nil); !changed || err != nil {
		t.Fatal(err)
	}
	whole()
	if same, err := m.Same(t.Context(), out); !same || err != nil {
		t.Errorf("the last one to finish is not there: %t, %v", same, err)
	}
}

// TestMergeTruncatesNothing merges to one file several times at once, while others
// open what is published.
func TestMergeTruncatesNothing(t *testing.T) {
	m := plan(t, []Component{component(t, "a", node{name: "opt/a", mode: 0o644, data: code(3*testFrame, 1)})})
	out := filepath.Join(t.TempDir(), "out")
	writeMerged(t, m, out)
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			for range 10 {
				if err := m.writeFile(t.Context(), out, nil); err != nil {
					return err
				}
				if same, err := m.Same(t.Context(), out); err != nil || !same {
					return fmt.Errorf("what is published is not whole: %w", err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(out)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
