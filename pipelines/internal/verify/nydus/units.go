package nydus

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

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
		data, err := t.Read(instance.unit)
		if err != nil {
			return err
		}
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
	r.Judge("units", problems, "both restart, with limits, before containerd.service, and keep their data when they stop")
	program, err := h.Find("systemd-analyze", "systemd")
	if err != nil {
		for _, name := range []string{"systemd", "hardening"} {
			r.Skip(name, "%v", err)
		}
		return nil
	}
	if len(units) == 0 {
		r.Skip("systemd", "there are no units")
		return nil
	}
	analyze(ctx, r, program, units)
	return context.Cause(ctx)
}

// unitProblems says what a unit lacks, and what it has and must not.
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
			problems = append(problems, fmt.Sprintf("%s has %s: nothing may be done to the data when it stops", i.unit, line))
		}
	}
	return problems
}

// analyze has systemd read the units.
func analyze(ctx context.Context, r *report.Report, program string, units []string) {
	verify := exec.CommandContext(ctx, program, append([]string{"verify", "--man=no", "--recursive-errors=no"}, units...)...)
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
		output, err := exec.CommandContext(ctx, program, "security", "--no-pager", "--offline=true", "--threshold="+exposure, unit).CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(output)), "\n")
		last := strings.TrimSpace(lines[len(lines)-1])
		if err != nil {
			problems = append(problems, fmt.Sprintf("systemd-analyze security %s: %v: %s", filepath.Base(unit), err, last))
		}
		saw = append(saw, last)
	}
	r.Judge("hardening", problems, "%s", strings.Join(saw, "\n"))
}
