package nydus

import (
	"context"
	"errors"
	"testing"
)

// TestAttempt guards against bugs that count as failed checks.
func TestAttempt(t *testing.T) {
	broken := errors.New("broken")
	do := func(do func()) error {
		_, err := new(run).attempt(t.Context(), check{"", func(*run, context.Context) string { do(); return "" }})
		return err
	}
	if err := do(func() { must(broken) }); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	defer func() {
		if recover() == nil {
			t.Error("a bug is a failed check")
		}
	}()
	_ = do(func() { panic(broken) })
}
