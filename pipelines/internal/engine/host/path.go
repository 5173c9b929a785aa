package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// systemDirs are the folders of system programs, which a root shell made with
// plain `su` leaves out of PATH.
var systemDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// LookPath finds a program in PATH or in the folders of system programs.
func LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range systemDirs {
		path := filepath.Join(dir, name)
		if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", err
}

// Environ returns the variables with the folders of system programs appended
// to PATH, which comes last.
func Environ(variables []string) []string {
	var kept, dirs []string
	for _, variable := range variables {
		if path, ok := strings.CutPrefix(variable, "PATH="); ok {
			dirs = filepath.SplitList(path)
			continue
		}
		kept = append(kept, variable)
	}
	for _, dir := range systemDirs {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return append(kept, "PATH="+strings.Join(dirs, string(filepath.ListSeparator)))
}
