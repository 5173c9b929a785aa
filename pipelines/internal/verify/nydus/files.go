package nydus

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

// checkProgram inspects one of the programs, and says whether it is one for the
// architecture.
func (s Snapshotter) checkProgram(r *report.Report, t *tarball.Tarball, path string) (ours bool, err error) {
	name := filepath.Base(path)
	file, err := t.Program(r, name, path, s.Arch)
	if file == nil {
		return false, err
	}
	data, err := t.Read(path)
	if err != nil {
		return false, err
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		r.Fail(name, "it is not a Go program: %v", err)
		return false, nil
	}
	problems := tarball.Static(file)
	if !slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "0"}) {
		problems = append(problems, "it is built with cgo")
	}
	if !bytes.Contains(data, []byte(s.Version)) {
		problems = append(problems, "the version "+s.Version+" is nowhere in it")
	}
	if path == grpc && !bytes.Contains(data, []byte(s.Revision)) {
		problems = append(problems, "the revision "+s.Revision+" is nowhere in it")
	}
	r.Judge(name, problems, "%s, static and stripped, no interpreter and no libraries, %s, of %d modules", file.Machine, info.GoVersion, len(info.Deps))
	return true, nil
}

// defaults are the values in the rendered files, on which users and installers
// rely.
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
	cmd := exec.CommandContext(ctx, "sh", t.Path(renderer), t.Path(home+"/templates"), again)
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
		want, err := t.Read("again/" + template)
		if err != nil {
			return err
		}
		got, err := t.Read(templates[template])
		if err != nil {
			return err
		}
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
