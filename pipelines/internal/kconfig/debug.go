package kconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// DebugFolder holds what only debugging needs: its options cost a guest time and
// memory, and let others look into it.
const DebugFolder = "debug"

// CheckNoDebug refuses a final .config of a kernel that does not name the debug
// folder, but has an option as that folder requests it for the architecture. The
// error has a line for each. Folders are those that the kernel names.
func CheckNoDebug(tree fs.FS, folders []string, kernelArch string, final []byte) error {
	if slices.Contains(folders, DebugFolder) {
		return nil
	}
	files, err := list(tree, DebugFolder, []string{".", kernelArch})
	if err != nil {
		return err
	}
	got, err := parseFinal(final)
	if err != nil {
		return err
	}
	var problems []error
	for _, file := range files {
		data, err := fs.ReadFile(tree, file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, cause(err))
		}
		options, errs := parse(file, data)
		problems = append(problems, errs...)
		for _, option := range options {
			if option.Value != "n" && got[option.Name] == option.Value {
				problems = append(problems, fmt.Errorf("%s: %s=%s is in the final configuration of a kernel without this folder: find what switches it on there",
					option.Pos(), option.Name, option.Value))
			}
		}
	}
	return errors.Join(problems...)
}
