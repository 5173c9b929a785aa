// Package verify proves that an artifact works, on the tarball that would be
// shipped. Package common has the checks of all artifacts. A family with further checks
// is a package of its own, which says what its tarballs hold. They share the report, the
// unpacked tarball and the machine that checks run on (packages report, tarball and host).
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// Family verifies the artifacts of one family.
type Family interface {
	// Layout says what the tarball must have.
	Layout() tarball.Layout
	// Checks are the names of all checks that Check may run.
	Checks() []string
	// Check adds what it finds to the report. An error means that this machine
	// cannot run any further check.
	Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error
}

// Artifact is what to verify.
type Artifact struct {
	Asset, Arch string
	// Tarball is a path, and Outputs are those of the secondary tarballs by name.
	Tarball string
	Outputs map[string]string
	// Required are the names of checks that fail where they cannot run.
	Required []string
}

// Known returns an error for each name that no check of a family has.
func Known(f Family, names []string) error {
	var unknown []error
	for _, name := range names {
		if !slices.Contains(f.Checks(), name) {
			unknown = append(unknown, fmt.Errorf("required check %q does not exist: choose from %s", name, strings.Join(f.Checks(), ", ")))
		}
	}
	return errors.Join(unknown...)
}

// Run verifies an artifact. The report says what is wrong with it; a tarball that is not
// whole has only that check. A file that cannot be read gives an error and no report; a
// machine that cannot run any further check gives an error and a report of the checks so
// far.
func Run(ctx context.Context, f Family, a Artifact, h host.Host) (*report.Report, error) {
	// The paths of sockets below it have a length limit, hence the short name.
	dir, err := os.MkdirTemp("", "kv-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the files of the tarball: %w", err)
	}
	defer os.RemoveAll(dir)
	r := &report.Report{Asset: a.Asset, Arch: a.Arch, Tarball: a.Tarball, Required: a.Required}
	t, err := f.Layout().Unpack(ctx, a.Tarball, dir, tarball.NewTraces(h.Name))
	var damage *tarball.Damage
	switch {
	case errors.As(err, &damage):
		r.Result(catalog.CheckWhole, "", damage)
	case err != nil:
		return nil, err
	default:
		t.Outputs = a.Outputs
		if err := cmp.Or(f.Check(ctx, r, t, h), t.Err()); err != nil {
			return r, err
		}
	}
	for _, name := range a.Required {
		if !slices.ContainsFunc(r.Checks, func(c report.Check) bool { return c.Name == name }) {
			r.Result(name, "", errors.New("required, but it did not run"))
		}
	}
	return r, nil
}
