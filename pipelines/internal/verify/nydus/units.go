package nydus

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/host"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// unitLines are what a unit must have: restart, limits, order, and folders that
// systemd keeps when it stops.
func (i instance) unitLines() []string {
	return []string{
		"Before=containerd.service",
		"WantedBy=containerd.service",
		"Restart=always",
		"LimitNOFILE=1048576",
		"StateDirectory=" + i.name,
		"RuntimeDirectory=" + i.name,
		"NoNewPrivileges=yes",
		"ProtectSystem=strict",
		"ExecStart=/" + grpc + " --config /" + i.config,
	}
}

// checkUnits checks the units, and has systemd judge them.
func checkUnits(ctx context.Context, r *report.Report, t *tarball.Tarball, h host.Host) error {
	var problems, units []string
	for _, instance := range instances {
		data := t.Read(instance.unit)
		if data == nil {
			problems = append(problems, instance.unit+" is not in the tarball")
			continue
		}
		problems = append(problems, instance.unitProblems(string(data))...)
		unit := t.Path(filepath.Base(instance.unit))
		if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(data), "/opt/kata/", t.Dir+"/opt/kata/")), 0o644); err != nil {
			return err
		}
		units = append(units, unit)
	}
	r.Judge("units", problems, "both restart, have limits, start before containerd.service, and keep their data when they stop")
	program, err := h.Find("systemd-analyze", "systemd")
	if err == nil && len(units) == 0 {
		err = report.Missing("there are no units")
	}
	if err != nil {
		r.Skip("systemd", "%v", err)
		r.Skip("hardening", "%v", err)
		return nil
	}
	analyze(ctx, r, program, units)
	return context.Cause(ctx)
}

// unitProblems says which lines a unit lacks, and which it must not have.
func (i instance) unitProblems(text string) (problems []string) {
	have := strings.Split(text, "\n")
	for _, line := range i.unitLines() {
		if !slices.Contains(have, line) {
			problems = append(problems, fmt.Sprintf("%s has no line %s", i.unit, line))
		}
	}
	for _, line := range have {
		// A command at the stop could remove what containerd still has records of.
		if strings.HasPrefix(line, "ExecStop") {
			problems = append(problems, fmt.Sprintf("%s has %s: stopping must not touch the data", i.unit, line))
		}
	}
	return problems
}

// analyze has systemd read the units.
func analyze(ctx context.Context, r *report.Report, program string, units []string) {
	verify := command.New(ctx, program, append([]string{"verify", "--man=no", "--recursive-errors=no"}, units...)...)
	output, err := verify.CombinedOutput()
	said := strings.TrimSpace(string(output))
	if err != nil || said != "" {
		r.Fail("systemd", "systemd-analyze verify: %v\n%s", err, said)
	} else {
		r.Pass("systemd", "systemd-analyze verify reports nothing for both units")
	}
	// Out of 100; the units of a distribution have more than 90.
	const exposure = "40"
	var problems, saw []string
	for _, unit := range units {
		output, err := command.New(ctx, program, "security", "--no-pager", "--offline=true", "--threshold="+exposure, unit).CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(output)), "\n")
		last := strings.TrimSpace(lines[len(lines)-1])
		if err != nil {
			problems = append(problems, fmt.Sprintf("systemd-analyze security %s: %v: %s", filepath.Base(unit), err, last))
		}
		saw = append(saw, last)
	}
	r.Judge("hardening", problems, "%s", strings.Join(saw, "\n"))
}

// checkProgram inspects one of the programs, and says whether it is one for the
// architecture.
func (s Snapshotter) checkProgram(r *report.Report, t *tarball.Tarball, path string) (ours bool) {
	name := filepath.Base(path)
	file := t.Program(r, name, path, s.Arch)
	if file == nil {
		return false
	}
	data := t.Read(path)
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		r.Fail(name, "it is not a Go program: %v", err)
		return false
	}
	problems := tarball.Static(file)
	if !slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "0"}) {
		problems = append(problems, "it is built with cgo")
	}
	if !bytes.Contains(data, []byte(s.Version)) {
		problems = append(problems, "the version "+s.Version+" does not occur in it")
	}
	if path == grpc && !bytes.Contains(data, []byte(s.Revision)) {
		problems = append(problems, "the revision "+s.Revision+" does not occur in it")
	}
	r.Judge(name, problems, "%s, static and stripped, no interpreter and no libraries, %s, of %d modules", file.Machine, info.GoVersion, len(info.Deps))
	return true
}

// defaults are the values in the rendered files. Users and installers rely on them.
var defaults = []string{
	"CRI_SERVICE=containerd.service",
	"KATA_PREFIX=/opt/kata",
	"NYDUS_IMAGE=/opt/kata/libexec/nydus-image",
	"SNAPSHOTTER=" + guestPull,
	"SNAPSHOTTER_HOST_SHARE=" + hostShare,
}

var unsetPlaceholder = regexp.MustCompile(`@[A-Z][A-Z0-9_]*@`)

// checkTemplates renders the templates again, and compares that with the shipped
// files.
func checkTemplates(ctx context.Context, r *report.Report, t *tarball.Tarball) error {
	const name = "templates"
	again := t.Path("again")
	cmd := command.New(ctx, "sh", t.Path(renderer), t.Path(home+"/templates"), again)
	cmd.Env = append(slices.Clone(defaults), "PATH="+os.Getenv("PATH"))
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		r.Fail(name, "rendering them with their defaults: %v: %s", err, bytes.TrimSpace(output))
		return nil
	}
	var problems []string
	for _, template := range slices.Sorted(maps.Keys(templates)) {
		want, got := t.Read("again/"+template), t.Read(templates[template])
		if placeholder := unsetPlaceholder.Find(got); placeholder != nil {
			problems = append(problems, fmt.Sprintf("%s has the placeholder %s", templates[template], placeholder))
		}
		if !bytes.Equal(got, want) {
			problems = append(problems, fmt.Sprintf("%s is not what %s.in gives with its defaults", templates[template], template))
		}
	}
	r.Judge(name, problems, "%d templates give the shipped files with %s", len(templates), strings.Join(defaults, " "))
	return nil
}
