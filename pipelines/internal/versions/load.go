package versions

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/strictyaml"
)

// maxSize is far more than any versions.yaml has.
const maxSize = 1 << 20

// Load reads a versions.yaml, and the lock of the tree, which may have none. It reports
// the problems of both.
func Load(path string, tree fs.FS) (*File, error) {
	var f *File
	data, err := files.ReadNamed(path, maxSize)
	if err == nil {
		f, err = Parse(path, data)
	} else {
		err = fmt.Errorf("%s: not readable: %w; give the path of a versions.yaml", path, strictyaml.Cause(err))
	}
	lock, lockErr := readLock(tree)
	if err := errors.Join(err, lockErr); err != nil {
		return nil, err
	}
	f.lock = lock
	return f, nil
}

// ParseLocked reads the contents of a versions.yaml and of its lock.
func ParseLocked(path string, data, lockData []byte) (*File, error) {
	f, err := Parse(path, data)
	var lock map[string]entry
	root, lockErr := strictyaml.Decode(LockFile, lockData, &lock)
	if err := errors.Join(err, lockErr); err != nil {
		return nil, err
	}
	f.lock, err = checkLock(root, lock)
	return f, err
}

// Parse reads the content of a versions.yaml, without a lock.
func Parse(path string, data []byte) (*File, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("%s: %d bytes, want at most %d", path, len(data), maxSize)
	}
	// Decoding into a value finds what nodes can hide: duplicate keys, cycles of aliases,
	// and aliases of aliases that expand without end.
	var content any
	root, err := strictyaml.Decode(path, data, &content)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, Data: data, pins: map[string]*yaml.Node{}, differs: map[string]*yaml.Node{}}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: not a versions.yaml: want a mapping of groups such as assets", path, root.Line())
	}
	if err := errors.Join(f.add("", root.Node), f.checkDiffers()); err != nil {
		return nil, err
	}
	return f, nil
}

// proseKeys hold text for people, not pins.
var proseKeys = strings.Fields("desc description format issue notes uscan-opts uscan-url")

// add records every value at and below a path.
func (f *File) add(path string, node *yaml.Node) (problems error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		f.pins[path] = node
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].ShortTag() == "!!merge" {
			// What the mapping itself says replaces it below.
			problems = errors.Join(problems, f.add(path, node.Content[i+1]))
		}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		switch key := node.Content[i]; {
		case key.ShortTag() == "!!merge" || slices.Contains(proseKeys, key.Value):
		case key.Value == differsKey:
			problems = errors.Join(problems, f.addDiffers(path, node.Content[i+1]))
		case nearest.Of(key.Value, []string{differsKey}) != "":
			problems = errors.Join(problems, fmt.Errorf("%s:%d: %s.%s: did you mean %q?", f.Path, key.Line, path, key.Value, differsKey))
		default:
			problems = errors.Join(problems, f.add(strings.TrimPrefix(path+"."+key.Value, "."), node.Content[i+1]))
		}
	}
	return problems
}

// text returns the value of a node at a path, which must be a string.
func (f *File) text(path string, node *yaml.Node) (string, error) {
	where := fmt.Sprintf("%s:%d: %s", f.Path, node.Line, path)
	switch {
	case node.Kind != yaml.ScalarNode:
		return "", fmt.Errorf("%s is a list; write one string", where)
	case strings.TrimSpace(node.Value) == "" || node.ShortTag() == "!!null":
		return "", fmt.Errorf("%s is empty; write a value or remove the key", where)
	case node.ShortTag() != "!!str":
		// A number such as 1.10 would lose its last zero, and a date change its form.
		return "", fmt.Errorf("%s is not a string; quote it: %q", where, node.Value)
	}
	return node.Value, nil
}

// differsKey is the key, next to the pins of an entry, of those whose value is not the
// one in the versions.yaml of Kata Containers, with the value there:
//
//	version: "v10.2.2"
//	differs: {version: "v10.2.1"}
//
// It describes a pin and is not one itself, so it is in no key.
const differsKey = "differs"

// Difference is a pin whose value is not the one in the versions.yaml of Kata Containers.
type Difference struct {
	// Pin is the path of the pin, Value its value, and Kata the value there.
	Pin   string `json:"pin"`
	Value string `json:"value"`
	Kata  string `json:"kata"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s is %s, but Kata pins %s", d.Pin, d.Value, d.Kata)
}

// Differences returns those of the pins that differ from Kata's, by path.
func (f *File) Differences(pins ...string) []Difference {
	differences := []Difference{}
	for _, pin := range slices.Compact(slices.Sorted(slices.Values(pins))) {
		if node := f.differs[pin]; node != nil {
			differences = append(differences, Difference{Pin: pin, Value: f.pins[pin].Value, Kata: node.Value})
		}
	}
	return differences
}

// addDiffers records the values below the key differs of an entry.
func (f *File) addDiffers(entry string, node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: %s.%s is not a mapping; write %s: {version: \"VALUE\"}", f.Path, node.Line, entry, differsKey, differsKey)
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		f.differs[entry+"."+node.Content[i].Value] = node.Content[i+1]
	}
	return nil
}

// checkDiffers refuses a difference of an unknown pin, and one whose values are the same.
func (f *File) checkDiffers() error {
	var problems []error
	for _, pin := range slices.Sorted(maps.Keys(f.differs)) {
		node := f.differs[pin]
		dot := strings.LastIndexByte(pin, '.')
		where := fmt.Sprintf("%s.%s%s", pin[:dot], differsKey, pin[dot:])
		if f.pins[pin] == nil {
			hint := cmp.Or(nearest.Hint(pin, f.Pins()), "; remove it")
			problems = append(problems, fmt.Errorf("%s:%d: %s describes no pin of the entry%s", f.Path, node.Line, where, hint))
			continue
		}
		kata, err := f.text(where, node)
		here, _ := f.text(pin, f.pins[pin]) // Whoever uses the pin reports its problem.
		if err == nil && kata == here {
			err = fmt.Errorf("%s:%d: %s is %q, the value of the pin itself; remove it", f.Path, node.Line, where, kata)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
