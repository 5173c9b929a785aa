package kconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/yamlerr"
)

// ExceptionsFile holds the exceptions, below the repository root.
const ExceptionsFile = Root + "/exceptions.yaml"

// kernelArches are the values of ARCH in a Linux build that Kata knows. One
// misspelt would make an exception that never applies.
var kernelArches = []string{"arm64", "powerpc", "riscv", "s390", "x86_64"}

// Exception tolerates that a requested option is not in the final
// configuration. Arches are kernel architectures, none for all of them;
// Versions is a range of kernel versions such as ">=6.18, <6.20", "" for all.
// Line is its place in ExceptionsFile.
type Exception struct {
	Option, Reason string
	Arches         []string
	Versions       string
	Line           int
}

// entry is an exception as it is written.
type entry struct {
	Option   string   `yaml:"option"`
	Reason   string   `yaml:"reason"`
	Arches   []string `yaml:"arches"`
	Versions string   `yaml:"versions"`
}

// LoadExceptions reads and checks kernel-configs/exceptions.yaml. The error
// holds a line for each problem.
func LoadExceptions(tree fs.FS) ([]Exception, error) {
	data, err := fs.ReadFile(tree, ExceptionsFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: write \"exceptions: []\" into it where there are none", ExceptionsFile, cause(err))
	}
	exceptions, err := decodeExceptions(data)
	if err != nil {
		return nil, err
	}
	var problems []error
	for i, e := range exceptions {
		for _, text := range e.problems(exceptions[:i]) {
			problems = append(problems, fmt.Errorf("%s:%d: %s", ExceptionsFile, e.Line, text))
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return exceptions, nil
}

// fields are those of exceptions.yaml.
var fields = []string{"exceptions", "option", "reason", "arches", "versions"}

func decodeExceptions(data []byte) ([]Exception, error) {
	var file struct {
		Exceptions []entry `yaml:"exceptions"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, yamlerr.In(ExceptionsFile, err, fields)
	}
	if file.Exceptions == nil {
		return nil, fmt.Errorf("%s:1: no list of exceptions: write \"exceptions: []\" where there are none", ExceptionsFile)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document in the file: keep one list", ExceptionsFile)
	}
	// Once more as nodes, which know their lines.
	var nodes struct {
		Exceptions []yaml.Node `yaml:"exceptions"`
	}
	if err := yaml.Unmarshal(data, &nodes); err != nil {
		return nil, yamlerr.In(ExceptionsFile, err, fields)
	}
	exceptions := make([]Exception, len(file.Exceptions))
	for i, e := range file.Exceptions {
		exceptions[i] = Exception{e.Option, strings.TrimSpace(e.Reason), e.Arches, e.Versions, nodes.Exceptions[i].Line}
	}
	return exceptions, nil
}

// problems tells what is wrong with an exception that stands after others.
func (e Exception) problems(others []Exception) []string {
	var texts []string
	if !validName.MatchString(e.Option) {
		texts = append(texts, fmt.Sprintf("option is %q: want a name such as CONFIG_PCI", e.Option))
	}
	if e.Reason == "" {
		texts = append(texts, fmt.Sprintf("the exception for %s has no reason: say why the kernel may lack it", e.Option))
	}
	for i, arch := range e.Arches {
		if !slices.Contains(kernelArches, arch) {
			texts = append(texts, fmt.Sprintf("unknown kernel architecture %q: known are %s%s",
				arch, strings.Join(kernelArches, ", "), nearest.Hint(arch, kernelArches)))
		}
		if slices.Contains(e.Arches[:i], arch) {
			texts = append(texts, fmt.Sprintf("architecture %s stands twice: remove one", arch))
		}
	}
	if _, err := parseRange(e.Versions); err != nil {
		texts = append(texts, err.Error())
	}
	for _, other := range others {
		if other.Option == e.Option && other.Versions == e.Versions && other.shares(e) {
			texts = append(texts, fmt.Sprintf("%s has such an exception on line %d already: make one of the two", e.Option, other.Line))
			break
		}
	}
	return texts
}

// shares tells whether both apply on one architecture.
func (e Exception) shares(other Exception) bool {
	return len(e.Arches) == 0 || len(other.Arches) == 0 ||
		slices.ContainsFunc(e.Arches, func(arch string) bool { return slices.Contains(other.Arches, arch) })
}
