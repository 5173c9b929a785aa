package verify_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

// broken is a family that passes one check, and then ends with an error.
type broken struct{ err error }

func (broken) Layout() tarball.Layout { return tarball.Layout{} }

func (broken) Checks() []string { return []string{"first", "second"} }

func (b broken) Check(_ context.Context, r *report.Report, _ *tarball.Tarball, _ host.Host) error {
	r.Result("first", "fine", nil)
	return b.err
}

func TestKnown(t *testing.T) {
	if err := verify.Known(broken{}, []string{"second", "first"}); err != nil {
		t.Error(err)
	}
	if err := verify.Known(broken{}, []string{"first!"}); err == nil || err.Error() != `required check "first!" does not exist: choose from first, second` {
		t.Errorf("got %v", err)
	}
}

// A required check that the run does not reach fails, and an error of the family keeps
// the earlier checks.
func TestRun(t *testing.T) {
	a := verify.Artifact{Tarball: verifytest.Tree{"opt/kata/file": "x"}.Pack(t), Required: []string{"first", "second"}}
	r, err := verify.Run(t.Context(), broken{}, a, verifytest.NoBoot)
	require.NoError(t, err)
	if check := verifytest.Find(t, r, "second"); check.Verdict != report.Failed || !strings.HasPrefix(check.Saw, "required, but") || r.Passed != 1 {
		t.Errorf("got %+v", r)
	}
	full := errors.New("the disk is full")
	if r, err = verify.Run(t.Context(), broken{full}, a, verifytest.NoBoot); !errors.Is(err, full) || r == nil || r.Passed != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}
