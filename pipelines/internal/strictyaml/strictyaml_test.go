package strictyaml

import (
	"testing"
)

type thing struct {
	Name   string            `yaml:"name"`
	Arches []string          `yaml:"arches"`
	Parts  []part            `yaml:"parts"`
	More   map[string]string `yaml:"more"`
}

type part struct {
	Colour string `yaml:"colour"`
}

func TestDecodeErrors(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\narchs: [b]\nsize: 5\n":      "f.yaml:2: unknown field \"archs\"; did you mean \"arches\"?\nf.yaml:3: unknown field \"size\"",
		"parts:\n- colour: red\n- color: x\n": `f.yaml:3: unknown field "color"; did you mean "colour"?`,
		"name: {}\n":                          "f.yaml:1: want text, and found a mapping",
		"name: [\n":                           "f.yaml:1: did not find expected node content",
		"name: a\nname: b\n":                  "f.yaml:2: mapping key \"name\" already defined at line 1",
		"# nothing\n":                         "f.yaml: the file is empty",
		"name: a\n---\nname: b\n":             "f.yaml: more than one document in the file",
	} {
		if _, err := Decode("f.yaml", []byte(text), &thing{}); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestLines(t *testing.T) {
	var value thing
	root, err := Decode("f.yaml", []byte("# first\nname: a\nmore:\n  x: y\nparts:\n\n- colour: red\n- {}\n"), &value)
	if err != nil || value.Name != "a" || len(value.Parts) != 2 {
		t.Fatalf("%+v, %v", value, err)
	}
	for want, got := range map[string]int{
		"1 root": root.Line() - 1, "3 field": root.At("more").Line(), "4 field below": root.At("more", "x").Line(), "5 list": root.At("parts").Line(),
		"8 item": root.At("parts", 1).Line(), "7 missing": root.At("parts", 0, "size").Line(), "3 missing below": root.At("more", "z").Line(),
	} {
		if got != int(want[0]-'0') {
			t.Errorf("%s: line %d", want, got)
		}
	}
}
