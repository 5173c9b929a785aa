package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/yamlerr"
)

// family is the content of one assets.yaml.
type family struct {
	Family  string  `yaml:"family"`
	Builder Builder `yaml:"builder"`
	Steps   []Step  `yaml:"steps"`
	Assets  []Asset `yaml:"assets"`
}

// loadFamily reads one assets.yaml and checks what can be checked within it.
func loadFamily(tree fs.FS, file string) ([]Asset, error) {
	data, err := fs.ReadFile(tree, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, cause(err))
	}
	f, root, err := decode(data)
	if err != nil {
		return nil, yamlerr.In(file, err, fields)
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

// decode returns the content of a file twice: as values, and as the nodes that
// know their lines.
func decode(data []byte) (family, *yaml.Node, error) {
	var f family
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return f, nil, err
	}
	if root.Kind == 0 {
		return f, nil, errors.New("the file is empty")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil {
		return f, nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return f, nil, errors.New("more than one document in the file")
	}
	return f, root.Content[0], nil
}

// fields are those of assets.yaml.
var fields = []string{
	"family", "builder", "distribution", "suite", "image", "epoch", "packages", "steps", "script", "config",
	"assets", "name", "description", "arches", "pins", "sources", "options", "files", "dependencies",
	"outputs", "secrets", "verify", "kernel", "configs", "arch_configs", "cross", "ccache", "alone", "suffix", "version", "disk", "budget",
}

// lineOf follows field names and list positions down from a node and returns
// the line of the last one that exists.
func lineOf(node *yaml.Node, steps ...any) int {
	line := node.Line
	for _, step := range steps {
		next := child(node, step)
		if next == nil {
			break
		}
		node, line = next, next.Line
	}
	return line
}

func child(node *yaml.Node, step any) *yaml.Node {
	switch step := step.(type) {
	case int:
		if node.Kind == yaml.SequenceNode && step < len(node.Content) {
			return node.Content[step]
		}
	case string:
		for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i+1]
			}
		}
	}
	return nil
}

// cause drops the operation and path of a file error, which the caller names
// in its own way.
func cause(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
