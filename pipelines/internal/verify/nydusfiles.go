package verify

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
)

// checkProgram inspects one of the programs, and says whether it is there and one
// for n.Arch.
func (n Nydus) checkProgram(report *Report, path string) (ours bool, err error) {
	name := filepath.Base(path)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		report.Skip(name, "it is not in the tarball")
		return false, nil
	}
	if err != nil {
		return false, err
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		report.Fail(name, "it is no ELF file: %v", err)
		return false, nil
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		report.Fail(name, "it is no program of Go: %v", err)
		return false, nil
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	problems := unequal("the architecture", settings["GOARCH"], catalog.Arch(n.Arch).GoArch())
	ours = len(problems) == 0
	problems = append(problems, unequal("CGO_ENABLED", settings["CGO_ENABLED"], "0")...)
	problems = append(problems, dynamic(file)...)
	if !bytes.Contains(data, []byte(n.Version)) {
		problems = append(problems, "the version "+n.Version+" is nowhere in it")
	}
	if name == filepath.Base(nydusGRPC) && !bytes.Contains(data, []byte(n.Revision)) {
		problems = append(problems, "the revision "+n.Revision+" is nowhere in it")
	}
	report.Judge(name, problems, "%s, static and stripped, no interpreter and no libraries, %s, of %d modules", file.Machine, info.GoVersion, len(info.Deps))
	return ours, nil
}

// dynamic says what keeps an executable from being static and stripped.
func dynamic(file *elf.File) (problems []string) {
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			interpreter, _ := io.ReadAll(segment.Open())
			problems = append(problems, fmt.Sprintf("it has the interpreter %s: it is not static", bytes.TrimRight(interpreter, "\x00")))
		}
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		problems = append(problems, fmt.Sprintf("its dynamic section: %v", err))
	}
	if len(libraries) > 0 {
		problems = append(problems, "it needs "+strings.Join(libraries, ", ")+": it is not static")
	}
	if file.Section(".symtab") != nil {
		problems = append(problems, "it has symbols: it is not stripped")
	}
	return problems
}

// nydusDefaults are the values of the templates that the rendered files have, and
// that users and installers rely on.
var nydusDefaults = []string{
	"CRI_SERVICE=containerd.service",
	"KATA_PREFIX=/opt/kata",
	"NYDUS_IMAGE=/opt/kata/libexec/nydus-image",
	"SNAPSHOTTER=" + guestPull,
	"SNAPSHOTTER_HOST_SHARE=" + hostShare,
}

var unsetPlaceholder = regexp.MustCompile(`@[A-Z][A-Z0-9_]*@`)

// checkFiles renders the templates again, and wants the rendered files to be that.
func (n Nydus) checkFiles(ctx context.Context, report *Report, dir string) error {
	const name = "templates"
	again := filepath.Join(dir, "again")
	cmd := exec.CommandContext(ctx, "sh", filepath.Join(dir, nydusRenderer), filepath.Join(dir, nydusHome, "templates"), again)
	cmd.Env = append(slices.Clone(nydusDefaults), "PATH="+os.Getenv("PATH"))
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		report.Fail(name, "rendering them with their defaults: %v: %s", err, bytes.TrimSpace(output))
		return nil
	}
	var problems []string
	for _, template := range slices.Sorted(maps.Keys(nydusTemplates)) {
		rendered, shipped := filepath.Join(again, template), filepath.Join(dir, nydusTemplates[template])
		want, err := optional(rendered)
		if err != nil {
			return err
		}
		got, err := optional(shipped)
		if err != nil {
			return err
		}
		if placeholder := unsetPlaceholder.Find(got); placeholder != nil {
			problems = append(problems, fmt.Sprintf("%s has the placeholder %s", nydusTemplates[template], placeholder))
		}
		if !bytes.Equal(got, want) {
			problems = append(problems, fmt.Sprintf("%s is not what %s.in gives with its defaults", nydusTemplates[template], template))
		}
	}
	report.Judge(name, problems, "%d templates give the shipped files with %s", len(nydusTemplates), strings.Join(nydusDefaults, " "))
	return nil
}
