package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// lines are what a unit must have: restart, limits, order, and folders that systemd
// keeps when it stops.
func (i nydusInstance) lines() []string {
	return []string{
		"Before=containerd.service",
		"WantedBy=containerd.service",
		"Restart=always",
		"LimitNOFILE=1048576",
		"StateDirectory=" + i.name,
		"RuntimeDirectory=" + i.name,
		"NoNewPrivileges=yes",
		"ProtectSystem=strict",
		"ExecStart=/" + nydusGRPC + " --config /" + i.config,
	}
}

// checkUnits looks at the units, and has systemd judge them.
func (s Serving) checkUnits(ctx context.Context, report *Report, dir string) error {
	var problems, units []string
	for _, instance := range nydusInstances {
		data, err := os.ReadFile(filepath.Join(dir, instance.unit))
		if errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, instance.unit+" is not in the tarball")
			continue
		}
		if err != nil {
			return err
		}
		problems = append(problems, instance.unitProblems(string(data))...)
		unit := filepath.Join(dir, filepath.Base(instance.unit))
		if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(data), "/opt/kata/", dir+"/opt/kata/")), 0o644); err != nil {
			return err
		}
		units = append(units, unit)
	}
	report.Judge("units", problems, "both restart, with limits, before containerd.service, and keep their data when they stop")
	program, err := s.LookPath("systemd-analyze")
	if err != nil {
		for _, name := range []string{"systemd", "hardening"} {
			report.Skip(name, "no systemd-analyze on this machine: apt-get install systemd")
		}
		return nil
	}
	if len(units) == 0 {
		report.Skip("systemd", "there are no units")
		return nil
	}
	s.analyze(ctx, report, program, units)
	return context.Cause(ctx)
}

// unitProblems says what a unit lacks, and what it has and must not.
func (i nydusInstance) unitProblems(text string) (problems []string) {
	have := strings.Split(text, "\n")
	for _, line := range i.lines() {
		if !slices.Contains(have, line) {
			problems = append(problems, fmt.Sprintf("%s has no line %s", i.unit, line))
		}
	}
	for _, line := range have {
		// What runs when it stops could remove what containerd still has records of.
		if strings.HasPrefix(line, "ExecStop") {
			problems = append(problems, fmt.Sprintf("%s has %s: nothing may be done to the data when it stops", i.unit, line))
		}
	}
	return problems
}

// analyze has systemd read the units, of which the programs are below a folder of
// their own.
func (s Serving) analyze(ctx context.Context, report *Report, program string, units []string) {
	verify := exec.CommandContext(ctx, program, append([]string{"verify", "--man=no", "--recursive-errors=no"}, units...)...)
	output, err := verify.CombinedOutput()
	said := strings.TrimSpace(string(output))
	if err != nil || said != "" {
		report.Fail("systemd", "systemd-analyze verify: %v\n%s", err, said)
	} else {
		report.Pass("systemd", "systemd-analyze verify has nothing to say of both units")
	}
	// Of 100, where the units of a distribution have more than 90.
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
	report.Judge("hardening", problems, "%s", strings.Join(saw, "\n"))
}
