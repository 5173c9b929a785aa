package versions

import "gopkg.in/yaml.v3"

// pair is one key of a mapping and its value.
type pair struct {
	name       string
	key, value *yaml.Node
}

// pairs returns the content of a mapping, each key once and without aliases.
func (p *problems) pairs(node *yaml.Node, where string) []pair {
	if node.Kind != yaml.MappingNode || node.ShortTag() != "!!map" {
		p.at(node, "%s: %s where a mapping belongs; write key: value lines below it", where, shape(node))
		return nil
	}
	if len(node.Content) == 0 {
		p.at(node, "%s: an empty mapping; fill or remove it", where)
	}
	var pairs []pair
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.ShortTag() == "!!merge":
			p.at(key, "%s: a merge key; write the keys out", where)
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			p.at(key, "%s: %s as a key; quote it or use a name", where, shape(key))
		case first[key.Value] != 0:
			p.at(key, "%s: %q stands twice, first on line %d; remove one", where, key.Value, first[key.Value])
		case value.Kind == yaml.AliasNode:
			first[key.Value] = key.Line
			p.at(value, "%s.%s: the alias *%s; write the value out", where, key.Value, value.Value)
		default:
			first[key.Value] = key.Line
			pairs = append(pairs, pair{key.Value, key, value})
		}
	}
	return pairs
}

// shape names what a node is, for messages.
func shape(node *yaml.Node) string {
	switch tag := node.ShortTag(); {
	case node.Kind == yaml.AliasNode:
		return "an alias"
	case tag == "!!map":
		return "a mapping"
	case tag == "!!seq":
		return "a list"
	case tag == "!!str":
		return "a string"
	case tag == "!!int":
		return "the number " + node.Value
	case tag == "!!float":
		return "the decimal number " + node.Value
	case tag == "!!bool":
		return "the boolean " + node.Value
	case tag == "!!timestamp":
		return "the date " + node.Value
	case tag == "!!null":
		return "nothing"
	default:
		return "a value of type " + tag
	}
}
