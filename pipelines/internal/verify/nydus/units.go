package nydus

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/command"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
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

func (r *run) units(context.Context) string {
	var problems error
	for _, i := range instances {
		data := r.t.Read(i.unit)
		if data == nil {
			problems = errors.Join(problems, fmt.Errorf("%s is not in the tarball", i.unit))
			continue
		}
		have := strings.Split(string(data), "\n")
		for _, line := range i.unitLines() {
			if !slices.Contains(have, line) {
				problems = errors.Join(problems, fmt.Errorf("%s has no line %s", i.unit, line))
			}
		}
		for _, line := range have {
			// A command that runs at a stop could remove data that containerd still uses.
			if strings.HasPrefix(line, "ExecStop") {
				problems = errors.Join(problems, fmt.Errorf("%s has %s: stopping must not touch the data", i.unit, line))
			}
		}
	}
	report.Must(problems)
	return "both restart, have limits, start before containerd.service, and keep their data when they stop"
}

// analyze returns what systemd-analyze prints.
func (r *run) analyze(ctx context.Context, args ...string) (printed string, err error) {
	output, err := command.New(ctx, report.Try(r.Find("systemd-analyze", "systemd")), args...).CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

// unitFiles writes the units with the paths of this machine.
func (r *run) unitFiles() (files []string) {
	for _, i := range instances {
		if data := r.t.Read(i.unit); data != nil {
			file := filepath.Join(r.dir, filepath.Base(i.unit))
			report.Must(os.WriteFile(file, bytes.ReplaceAll(data, []byte("/opt/kata/"), []byte(r.dir+"/opt/kata/")), 0o644))
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		report.Must(report.Missing("there are no units"))
	}
	return files
}

// systemd has systemd read the units.
func (r *run) systemd(ctx context.Context) string {
	printed, err := r.analyze(ctx, append([]string{"verify", "--man=no", "--recursive-errors=no"}, r.unitFiles()...)...)
	report.Want(err == nil && printed == "", "systemd-analyze verify: %v\n%s", err, printed)
	return "systemd-analyze verify reports nothing for both units"
}

// hardening has systemd rate what a unit may do.
func (r *run) hardening(ctx context.Context) string {
	// Out of 100; the units of a distribution have more than 90.
	const exposure = "40"
	var problems error
	var saw []string
	for _, unit := range r.unitFiles() {
		printed, err := r.analyze(ctx, "security", "--no-pager", "--offline=true", "--threshold="+exposure, unit)
		last := strings.TrimSpace(printed[strings.LastIndex(printed, "\n")+1:])
		if err != nil {
			problems = errors.Join(problems, fmt.Errorf("systemd-analyze security %s: %w: %s", filepath.Base(unit), err, last))
		}
		saw = append(saw, last)
	}
	report.Must(problems)
	return strings.Join(saw, "\n")
}

func (r *run) grpc(context.Context) string { return r.program(grpc) }

func (r *run) overlayfs(context.Context) string { return r.program(overlayfs) }

// program inspects one of the programs. Both contain the version, and the snapshotter
// also the revision.
func (r *run) program(path string) string {
	file, data := report.Try(r.t.Program(path, r.Arch)), r.t.Read(path)
	info, err := buildinfo.Read(bytes.NewReader(data))
	report.Want(err == nil, "it is not a Go program: %w", err)
	var problems error
	if !slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "0"}) {
		problems = errors.Join(problems, errors.New("it is built with cgo"))
	}
	if !bytes.Contains(data, []byte(r.Version)) {
		problems = errors.Join(problems, fmt.Errorf("the version %s does not occur in it", r.Version))
	}
	if path == grpc && !bytes.Contains(data, []byte(r.Revision)) {
		problems = errors.Join(problems, fmt.Errorf("the revision %s does not occur in it", r.Revision))
	}
	report.Must(problems)
	return fmt.Sprintf("for %s, without cgo, %s, of %d modules", file.Machine, info.GoVersion, len(info.Deps))
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

// templates renders the templates again, and compares that with the shipped files.
func (r *run) templates(ctx context.Context) string {
	cmd := command.New(ctx, "sh", r.t.Path(renderer), r.t.Path(home+"/templates"), r.t.Path("again"))
	cmd.Env = append(slices.Clone(defaults), "PATH="+os.Getenv("PATH"))
	output, err := cmd.CombinedOutput()
	report.Want(err == nil, "rendering them with their defaults: %w: %s", err, bytes.TrimSpace(output))
	var problems error
	for _, template := range slices.Sorted(maps.Keys(templates)) {
		again, shipped := r.t.Read("again/"+template), r.t.Read(templates[template])
		if placeholder := unsetPlaceholder.Find(shipped); placeholder != nil {
			problems = errors.Join(problems, fmt.Errorf("%s has the placeholder %s", templates[template], placeholder))
		}
		if !bytes.Equal(shipped, again) {
			problems = errors.Join(problems, fmt.Errorf("%s is not what %s.in gives with its defaults", templates[template], template))
		}
	}
	report.Must(problems)
	return fmt.Sprintf("%d templates give the shipped files with %s", len(templates), strings.Join(defaults, " "))
}
