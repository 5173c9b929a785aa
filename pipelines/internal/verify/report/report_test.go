package report_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

const (
	one = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	two = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func sample(required ...string) *report.Report {
	r := &report.Report{Asset: "tiny", Arch: "x86_64", Required: required}
	r.Result("members", "3 files", nil)
	r.Run("links", func() (string, error) { return "none", nil })
	r.Result("boot", "", fmt.Errorf("finding QEMU: %w", report.Missing("no qemu")))
	return r
}

func proof(r *report.Report, tarball string) report.Proof {
	return report.Proof{Version: report.ProofVersion, Checks: r.Checks,
		Subject: report.Subject{Asset: r.Asset, Arch: r.Arch, Key: "1234", Tarball: tarball},
		Runner:  report.Runner{By: "me@here", Program: "1", Arch: "x86_64", Accelerator: "tcg"}}
}

// TestResult guards against a failure that counts as skipped because of a Missing next
// to it.
func TestResult(t *testing.T) {
	failure, missing := errors.New("broken"), report.Missing("no qemu")
	for _, test := range []struct {
		err     error
		verdict report.Verdict
	}{
		{missing, report.Skipped},
		{fmt.Errorf("finding QEMU: %w", missing), report.Skipped},
		{errors.Join(failure, missing), report.Failed},
		{fmt.Errorf("booting: %w", errors.Join(missing, failure)), report.Failed},
		{fmt.Errorf("%w: %w", missing, failure), report.Failed},
		{failure, report.Failed},
	} {
		r := &report.Report{}
		r.Result("boot", "", test.err)
		if got := r.Checks[0].Verdict; got != test.verdict {
			t.Errorf("%q: %s, want %s", test.err, got, test.verdict)
		}
	}
}

// TestRequired guards against a skipped check that ships: its skip is a failure
// where the check is required.
func TestRequired(t *testing.T) {
	r := sample()
	if err := r.Err(); err != nil || r.Passed != 2 || r.Skipped != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	r = sample("members", "boot")
	if r.Passed != 2 || r.Failed != 1 || r.Skipped != 0 {
		t.Errorf("%+v", r)
	}
	if want := "1 of 3 checks failed: boot"; r.Err() == nil || r.Err().Error() != want {
		t.Errorf("got %v, want %q", r.Err(), want)
	}
	if got, want := r.Checks[2].Saw, "required, but skipped: no qemu"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNothingPassed(t *testing.T) {
	r := &report.Report{}
	r.Result("boot", "", report.Missing("no qemu"))
	if err := r.Err(); err == nil || proof(r, one).Err() == nil {
		t.Error("a report without a check that passed is good")
	}
}

func TestProof(t *testing.T) {
	p := proof(sample(), one)
	p.Outputs = map[string]string{"modules": two}
	data, err := p.Encode()
	require.NoError(t, err)
	got, err := report.Parse(data)
	require.NoError(t, err)
	if diff := cmp.Diff(p, got); diff != "" {
		t.Error(diff)
	}
	if err := got.Err(); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]string{
		"not JSON": "proof",
		"version":  strings.Replace(string(data), `"version":1`, `"version":2`, 1),
		"field":    strings.Replace(string(data), `"asset"`, `"assert"`, 1),
		"digest":   strings.Replace(string(data), one, "sha256:a", 1),
		"verdict":  strings.Replace(string(data), `"verdict":"skipped"`, `"verdict":"maybe"`, 1),
	} {
		if _, err := report.Parse([]byte(bad)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAccept(t *testing.T) {
	encode := func(r *report.Report, tarball string) []byte {
		data, err := proof(r, tarball).Encode()
		require.NoError(t, err)
		return data
	}
	with := proof(sample(), one)
	with.Outputs = map[string]string{"modules": two}
	modules, err := with.Encode()
	require.NoError(t, err)
	bad := sample()
	bad.Result("symbols", "", errors.New("none"))
	if err := report.Accept([][]byte{encode(sample(), one)}, report.Subject{Asset: "tiny", Arch: "x86_64", Tarball: one}, "members", "boot"); err == nil || !strings.Contains(err.Error(), `the required check "boot" did not run`) {
		t.Errorf("with a required check that was skipped: %v", err)
	}
	for name, test := range map[string]struct {
		proofs [][]byte
		want   string
	}{
		"passed":            {[][]byte{encode(sample(), one)}, ""},
		"passed once":       {[][]byte{encode(bad, one), encode(sample(), two), encode(sample(), one)}, ""},
		"none":              {nil, "no proof"},
		"other outputs":     {[][]byte{modules}, "the proof by me@here is for tiny"},
		"another's":         {[][]byte{encode(sample(), two)}, "the proof by me@here is for tiny x86_64 with digest " + two},
		"failed":            {[][]byte{encode(bad, one)}, "1 of 4 checks failed: symbols"},
		"not to be decoded": {[][]byte{[]byte("{}")}, "version 0, want 1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := report.Accept(test.proofs, report.Subject{Asset: "tiny", Arch: "x86_64", Key: "another", Tarball: one})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestAdds guards against lists of proofs that grow with every run of CI.
func TestAdds(t *testing.T) {
	data, err := proof(sample(), one).Encode()
	require.NoError(t, err)
	there := [][]byte{data}
	more, bad := sample(), sample()
	more.Checks = more.Checks[:2]
	more.Result("boot", "up", nil)
	bad.Result("symbols", "", errors.New("none"))
	elsewhere := proof(sample(), one)
	elsewhere.Runner.By = "CI"
	for name, test := range map[string]struct {
		proof report.Proof
		want  bool
	}{
		"the same by another": {elsewhere, false},
		"a check more":        {proof(more, one), true},
		"a failure":           {proof(bad, one), true},
		"another tarball":     {proof(sample(), two), true},
	} {
		if got := test.proof.Adds(there); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
