package catalog

import (
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// family is the content of one assets.yaml.
type family struct {
	Family  string  `yaml:"family"`
	Builder Builder `yaml:"builder"`
	Steps   []Step  `yaml:"steps"`
	Assets  []Asset `yaml:"assets"`
}

// loadFamily reads one assets.yaml and checks it on its own.
func loadFamily(tree fs.FS, file string) ([]Asset, error) {
	var f family
	root, err := strictyaml.ReadFile(tree, file, &f)
	if err != nil {
		return nil, err
	}
	check := checker{tree: tree, file: file, root: root}
	check.family(f)
	if err := errors.Join(check.problems...); err != nil {
		return nil, err
	}
	folder := path.Dir(file)
	for i := range f.Assets {
		asset := &f.Assets[i]
		asset.Family, asset.Builder = f.Family, f.Builder
		asset.Builder.Packages = slices.Concat(f.Builder.Packages, asset.Packages)
		if len(asset.Steps) == 0 {
			asset.Steps = f.Steps
		}
		asset.Folder, asset.Pos = folder, check.at("assets", i)
	}
	return f.Assets, nil
}
