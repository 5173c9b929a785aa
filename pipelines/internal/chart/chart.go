// Package chart packages the Helm chart of the tree: with the version of a release, the
// references of its images, and the shims that it ships.
//
// The package depends only on Options: it is a sorted tar with fixed owners and times in
// gzip, so the same commit gives the same bytes. Helm's library would write the time of
// packaging into it, and brings some hundred modules along; its format is a tar with
// everything below a folder, and a chart in a registry is that tar under the media types
// of ConfigType and LayerType. Tests run the real helm on the result.
package chart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/semver"
	"gopkg.in/yaml.v3"
)

// Name is the name of the chart, Dir its folder in the tree, and ShimsFile the file of the
// package that lists what each shim needs, as in the image.
const (
	Name      = "kata-deploy"
	Dir       = "assets/kata-deploy/chart"
	ShimsFile = "shim-components.json"
)

// The media types of a chart in a registry.
const (
	ConfigType = "application/vnd.cncf.helm.config.v1+json"
	LayerType  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// Options say what is in a package.
type Options struct {
	// Version is that of the chart and of the images that it installs: "3.28.0".
	Version string
	// Image and Kubectl are the references of the images that the chart's values name,
	// "" for those of the tree.
	Image, Kubectl string
	// Shims is the content of ShimsFile.
	Shims []byte
}

// Chart is a packaged chart.
type Chart struct {
	Version, Description string
	// Config is Chart.yaml as JSON, and Data the package.
	Config, Data []byte
}

// File returns the name of the package's file.
func (c *Chart) File() string { return Name + "-" + c.Version + ".tgz" }

// Tag returns the tag of the chart in a registry, where a version may have no +.
func (c *Chart) Tag() string { return strings.ReplaceAll(c.Version, "+", "_") }

// Package packages the chart of a tree.
func Package(tree fs.FS, o Options) (*Chart, error) {
	if !semver.IsValid("v"+o.Version) || strings.Count(o.Version, ".") < 2 {
		return nil, fmt.Errorf("the version of the chart is %q: want three numbers such as 3.28.0, and possibly -rc0", o.Version)
	}
	content, err := read(tree)
	if err != nil {
		return nil, fmt.Errorf("reading the chart %s: %w", Dir, err)
	}
	if err := o.apply(content); err != nil {
		return nil, fmt.Errorf("%s/%w", Dir, err)
	}
	var about map[string]any
	if err := yaml.Unmarshal(content["Chart.yaml"], &about); err != nil {
		return nil, fmt.Errorf("%s/Chart.yaml: %w", Dir, err)
	}
	c := &Chart{Version: o.Version}
	c.Description, _ = about["description"].(string)
	if c.Config, err = json.Marshal(about); err != nil {
		return nil, fmt.Errorf("%s/Chart.yaml: %w", Dir, err)
	}
	c.Data, err = pack(content)
	return c, err
}

// Files returns the paths in a tree of what is packaged: all but what .helmignore lists. A
// tree without a chart has none.
func Files(tree fs.FS) (names []string, err error) {
	ignored, err := fs.ReadFile(tree, Dir+"/.helmignore")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(tree, Dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !slices.Contains(strings.Fields(string(ignored)), strings.TrimPrefix(name, Dir+"/")) {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

// read returns the files by their names in the chart.
func read(tree fs.FS) (map[string][]byte, error) {
	names, err := Files(tree)
	content := map[string][]byte{}
	for _, name := range names {
		if err == nil {
			content[strings.TrimPrefix(name, Dir+"/")], err = fs.ReadFile(tree, name)
		}
	}
	return content, err
}

// apply puts the options into the files.
func (o Options) apply(content map[string][]byte) error {
	type value struct{ file, path, to string }
	values := []value{{"Chart.yaml", "name", Name}, {"Chart.yaml", "version", o.Version}, {"Chart.yaml", "appVersion", o.Version}}
	if o.Image != "" {
		values = append(values, value{"values.yaml", "image.reference", o.Image}, value{"values.yaml", "image.tag", ""})
	}
	if o.Kubectl != "" {
		values = append(values, value{"values.yaml", "kubectlImage.reference", o.Kubectl}, value{"values.yaml", "kubectlImage.tag", ""})
	}
	for _, v := range values {
		var err error
		if content[v.file], err = replace(content[v.file], v.path, v.to); err != nil {
			return fmt.Errorf("%s: %w", v.file, err)
		}
	}
	content[ShimsFile] = o.Shims
	return nil
}

// replace replaces a value of a YAML document in its line, so that all else stays as it
// was written.
func replace(data []byte, path, value string) ([]byte, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		return nil, err
	}
	at := &yaml.Node{}
	if len(node.Content) > 0 {
		at = node.Content[0]
	}
	for step := range strings.SplitSeq(path, ".") {
		i := slices.IndexFunc(at.Content, func(key *yaml.Node) bool { return key.Value == step })
		if i < 0 || at.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("it has no %s: the chart's versions and images are set there", path)
		}
		at = at.Content[i+1]
	}
	lines := strings.Split(string(data), "\n")
	quoted, err := json.Marshal(value) // JSON is YAML.
	if err != nil {
		return nil, err
	}
	line := &lines[at.Line-1]
	*line = (*line)[:at.Column-1] + string(quoted)
	return []byte(strings.Join(lines, "\n")), nil
}

// pack returns files, by name, as a tar in gzip.
func pack(content map[string][]byte) ([]byte, error) {
	var data bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&data, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	to := tar.NewWriter(compressed)
	for _, name := range slices.Sorted(maps.Keys(content)) {
		header := tar.Header{Typeflag: tar.TypeReg, Name: path.Join(Name, name), Mode: 0o644, Size: int64(len(content[name])), ModTime: time.Unix(0, 0)}
		if err := to.WriteHeader(&header); err != nil {
			return nil, fmt.Errorf("packing %s: %w", name, err)
		}
		if _, err := to.Write(content[name]); err != nil {
			return nil, fmt.Errorf("packing %s: %w", name, err)
		}
	}
	if err := errors.Join(to.Close(), compressed.Close()); err != nil {
		return nil, err
	}
	return data.Bytes(), nil
}
