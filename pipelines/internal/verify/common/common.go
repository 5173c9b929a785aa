// Package common has the checks that every artifact must pass, whatever it is: that the
// tarball is whole and lands only where it may, that its ELF files are for the right
// machine and hardened, that nothing of the build is left in it, and that its programs
// run. The catalog declares what differs from asset to asset, so a new family needs no
// code here.
//
// Package tarball has vetted and unpacked the tarball; these checks only judge what it
// found. Compressed contents, such as the kernel in a bzImage, are not searched.
package common

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// Proof are the checks of an asset: the common ones, and those of its family.
type Proof struct {
	Asset catalog.Asset
	Arch  catalog.Arch
	// Values are those of the asset's pins and options, by name.
	Values map[string]string
	// Family has further checks; it may be nil.
	Family verify.Family
}

// Layout is that of the family, with the programs to run.
func (p Proof) Layout() tarball.Layout {
	layout := tarball.Layout{}
	if p.Family != nil {
		maps.Copy(layout, p.Family.Layout())
	}
	for _, run := range p.Asset.Checks.Runs {
		if _, found := layout[run.File]; !found {
			layout[run.File] = tarball.File{Mode: 0o755}
		}
	}
	return layout
}

// Checks are the common checks, the scripts, and the checks of the family.
func (p Proof) Checks() []string {
	names := slices.Concat(catalog.CommonChecks, p.Asset.Checks.Scripts)
	if p.Family != nil {
		names = append(names, p.Family.Checks()...)
	}
	return names
}

// Check runs the common checks and the scripts, and then the checks of the family.
func (p Proof) Check(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error {
	s := &subject{Proof: p, Host: h, t: t, all: []*tarball.Tarball{t}}
	err := s.addOutputs(ctx)
	if damage := new(tarball.Damage); errors.As(err, &damage) {
		r.Result(catalog.CheckWhole, "", damage)
		return nil
	}
	if err != nil {
		return err
	}
	s.readObjects()
	for _, name := range slices.Concat(catalog.CommonChecks, p.Asset.Checks.Scripts) {
		saw, err := s.check(ctx, name)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.Result(name, saw, err)
	}
	if p.Family == nil {
		return nil
	}
	return p.Family.Check(ctx, r, t, h)
}

// subject is an artifact while it is checked.
type subject struct {
	Proof
	host.Host
	t *tarball.Tarball
	// all are t and the secondary tarballs, and absent the names of those that are not there.
	all    []*tarball.Tarball
	absent []string
	// objects are the ELF files, and broken says what is wrong with the others.
	objects []object
	broken  []error
}

func (s *subject) addOutputs(ctx context.Context) error {
	for _, output := range slices.Sorted(maps.Keys(s.t.Outputs)) {
		file := s.t.Outputs[output]
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			s.absent = append(s.absent, output)
			continue
		}
		dir := filepath.Join(s.t.Dir, "outputs", output)
		t, err := tarball.Layout{}.Unpack(ctx, file, dir, tarball.NewTraces(s.Name))
		if err != nil {
			return err
		}
		s.all = append(s.all, t)
	}
	return nil
}

func (s *subject) readObjects() {
	for _, t := range s.all {
		for _, name := range t.ELF {
			var o object
			file, err := os.Open(t.Path(name))
			if err == nil {
				o, err = readObject(name, file)
				_ = file.Close() // It was only read.
			}
			if err != nil {
				s.broken = append(s.broken, fmt.Errorf("%s is a broken ELF file: %w", name, err))
				continue
			}
			s.objects = append(s.objects, o)
		}
	}
}

// check runs a common check or a script, unless it is off.
func (s *subject) check(ctx context.Context, name string) (saw string, err error) {
	if why := s.Asset.Checks.Off(name); why != "" {
		return "", report.Missing(why)
	}
	switch name {
	case catalog.CheckWhole:
		return s.whole(), nil
	case catalog.CheckHostSafe:
		return s.hostSafe()
	case catalog.CheckBuildPaths:
		return s.buildPaths()
	case catalog.CheckSize:
		return s.size()
	case catalog.CheckRuns:
		return s.runs(ctx)
	}
	if slices.Contains(s.Asset.Checks.Scripts, name) {
		return s.script(ctx, name)
	}
	return s.eachObject(name)
}

// whole describes what vetting has accepted.
func (s *subject) whole() string {
	how := "as its index says"
	if !s.t.Indexed {
		how = "no index: another program made the tarball"
	}
	saw := fmt.Sprintf("%d members, %s", len(s.t.Members), how)
	if len(s.absent) > 0 {
		saw += "; not looked at, because they are not there: " + strings.Join(s.absent, ", ")
	}
	return saw
}

// folder is where installers unpack; the rest of a host is not Kata's.
const folder = "opt/kata"

// hostSafe checks that no file lands outside Kata's folder.
func (s *subject) hostSafe() (saw string, err error) {
	f := findings{subject: s, check: catalog.CheckHostSafe}
	for _, m := range s.t.Members {
		name, problem := path.Clean(m.Name), ""
		if name != folder && name != path.Dir(folder) && !strings.HasPrefix(name, folder+"/") {
			problem = "is outside " + folder
		}
		f.add(name, problem)
	}
	return f.result("members in " + folder)
}

// buildPaths checks that nothing of the build is left.
func (s *subject) buildPaths() (saw string, err error) {
	if s.Asset.Import != nil {
		return "", report.Missing("imported: its paths are those of a build elsewhere")
	}
	f := findings{subject: s, check: catalog.CheckBuildPaths}
	for _, t := range s.all {
		for _, m := range t.Members {
			name, problem := path.Clean(m.Name), ""
			if traces := t.Traces[name]; len(traces) > 0 {
				problem = "contains " + strings.Join(traces, ", ")
			}
			if m.Mode.IsRegular() {
				f.add(name, problem)
			}
		}
	}
	return f.result("files without a path of the build or the name of its machine")
}

// size compares the tarball with its budget.
func (s *subject) size() (saw string, err error) {
	budget := int64(s.Asset.Budget)
	switch {
	case budget == 0:
		return "", report.Missing(s.Asset.Pos + " declares no budget")
	case s.t.Size > budget:
		return "", fmt.Errorf("%d bytes: more than the budget of %d", s.t.Size, budget)
	}
	return fmt.Sprintf("%d bytes, %d %% of the budget", s.t.Size, 100*s.t.Size/budget), nil
}

type findings struct {
	*subject
	check string
	// passed counts files, and saw has a line for each that the catalog excepts.
	passed   int
	saw      []string
	problems error
}

// add adds a file that passes the check, or has a problem.
func (f *findings) add(file, problem string) {
	switch why := f.Asset.Checks.Excepted(f.check, file); {
	case problem == "":
		f.passed++
	case why != "":
		f.saw = append(f.saw, fmt.Sprintf("except %s: %s", file, why))
	default:
		f.problems = errors.Join(f.problems, fmt.Errorf("%s %s", file, problem))
	}
}

// idle adds a problem for each exception that is for nothing. With an output that is
// absent, it may be for a file of that.
func (f *findings) idle() {
	var members []string
	for _, t := range f.all {
		for _, m := range t.Members {
			members = append(members, path.Clean(m.Name))
		}
	}
	for _, pattern := range f.Asset.Checks.Idle(f.check, members) {
		if len(f.absent) == 0 {
			f.problems = errors.Join(f.problems, fmt.Errorf("%s: the exception for %s matches no file of the tarball: correct its files, or remove it", f.Asset.Pos, pattern))
		}
	}
}

// result returns the result of the check. Without a file that passed or failed the check
// is skipped: it has shown nothing.
func (f *findings) result(what string) (saw string, err error) {
	f.idle()
	if f.passed == 0 && f.problems == nil {
		return "", report.Missing(strings.Join(append([]string{"there are no " + what}, f.saw...), "\n"))
	}
	return strings.Join(append([]string{fmt.Sprintf("%s: %d", what, f.passed)}, f.saw...), "\n"), f.problems
}
