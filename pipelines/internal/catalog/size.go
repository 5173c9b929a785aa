package catalog

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Bytes is a number of bytes, written with its unit: "40 MiB".
type Bytes int64

var byteUnits = []struct {
	name string
	size float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

// ParseBytes reads a positive size such as "40 MiB", "1.5 GiB" or "512 B". It drops
// a fraction of a byte.
func ParseBytes(text string) (Bytes, error) {
	for _, unit := range byteUnits {
		number, found := strings.CutSuffix(text, unit.name)
		if !found {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimRight(number, " "), 64)
		if err != nil || !(value*unit.size >= 1 && value*unit.size < math.MaxInt64) {
			break
		}
		return Bytes(value * unit.size), nil
	}
	return 0, fmt.Errorf("%q is not a size: want a number and B, KiB, MiB or GiB, such as 40 MiB", text)
}

// UnmarshalYAML reads a size with its unit.
func (b *Bytes) UnmarshalYAML(node *yaml.Node) error {
	size, err := ParseBytes(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	*b = size
	return nil
}
