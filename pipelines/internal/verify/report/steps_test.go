package report_test

import (
	"errors"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// TestSteps guards against bugs that count as failed checks.
func TestSteps(t *testing.T) {
	broken := errors.New("broken")
	do := func(do func()) error {
		_, err := report.Steps(func() string { do(); return "" })
		return err
	}
	if err := do(func() { report.Must(broken) }); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	defer func() {
		if recover() == nil {
			t.Error("a bug is a failed check")
		}
	}()
	_ = do(func() { panic(broken) })
}
