package common

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/report"
)

// skip is the exit code of a script that cannot run on this machine, as for automake.
const skip = 77

// script runs a script of the family on the unpacked tarball. The last line that it prints
// is what the check saw.
func (s *subject) script(ctx context.Context, name string) (saw string, err error) {
	switch {
	case s.Skip != "":
		return "", report.Missing(s.Skip)
	case s.Arch.GoArch() != runtime.GOARCH:
		return "", report.Missing("this machine does not run programs for " + string(s.Arch))
	}
	if err := s.unpackAll(); err != nil {
		return "", err
	}
	variables := []string{"ROOT=" + s.everything(), "ARCH=" + string(s.Arch)}
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		variables = append(variables, name+"="+s.Values[name])
	}
	saw, err = s.output(ctx, variables, "bash", filepath.Join(s.Root, s.Asset.Folder, name))
	saw = saw[strings.LastIndexByte(saw, '\n')+1:]
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == skip {
		return "", report.Missing(saw)
	}
	if err == nil && saw == "" {
		err = errors.New("it prints nothing: say what it has seen")
	}
	return saw, err
}

// everything is where all files of the tarball are unpacked.
func (s *subject) everything() string { return filepath.Join(s.t.Dir, "everything") }

// unpackAll unpacks the tarball, which was vetted, once for all scripts. Links come last,
// so that no file is written through one.
func (s *subject) unpackAll() error {
	if files.Exists(s.everything()) {
		return nil
	}
	in, err := files.OpenNamed(s.t.File)
	if err != nil {
		return err
	}
	defer in.Close()
	place := func(name string) (string, error) {
		path := filepath.Join(s.everything(), name)
		return path, os.MkdirAll(filepath.Dir(path), 0o755)
	}
	members, err := archive.Extract(in, func(name string, _ int64) (string, error) { return place(name) })
	for _, m := range members {
		if m.Link == "" || err != nil {
			continue
		}
		var path string
		if path, err = place(m.Name); err == nil {
			err = os.Symlink(m.Link, path)
		}
	}
	if err != nil {
		return fmt.Errorf("unpacking %s for scripts: %w", s.t.File, err)
	}
	return nil
}
