package versions

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

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
