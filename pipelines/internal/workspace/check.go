package workspace

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
)

// PayloadSet is the release set whose assets the kata-deploy image holds.
const PayloadSet = "kata-static"

// Check resolves every asset on every architecture, and reports all problems at
// once. It returns how many recipes it checked.
func (w *Workspace) Check() (checked int, err error) {
	var problems []error
	seen := map[string]bool{}
	for _, asset := range w.Catalog.Assets {
		for _, arch := range asset.Arches {
			checked++
			// A problem of a shared file is the same for every asset.
			if _, err := w.Resolve(asset, arch); err != nil && !seen[err.Error()] {
				seen[err.Error()] = true
				problems = append(problems, err)
			}
		}
	}
	return checked, errors.Join(append(problems, w.checkShims())...)
}

// checkShims compares the shims of the kata-deploy image, if the tree has any, with
// the assets and with what the image will hold.
func (w *Workspace) checkShims() error {
	shims, err := w.Catalog.LoadShims(w.Files())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	set, err := w.Catalog.FindSet(PayloadSet)
	if err != nil {
		return fmt.Errorf("%s: %w", catalog.ShimsFile, err)
	}
	var problems []error
	for _, arch := range catalog.Arches() {
		if len(set.Components[arch]) > 0 {
			problems = append(problems, shims.Check(arch, set.Components[arch]))
		}
	}
	return errors.Join(problems...)
}
