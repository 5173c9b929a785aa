package yamlerr

import (
	"bytes"
	"errors"
	"testing"

	"gopkg.in/yaml.v3"
)

func TestIn(t *testing.T) {
	fields := []string{"name", "arches"}
	for text, want := range map[string]string{
		"name: a\narchs: [b]\ncolour: red\n": "f.yaml:2: unknown field \"archs\"; did you mean \"arches\"?\nf.yaml:3: unknown field \"colour\"",
		"name: {}\n":                         "f.yaml:1: cannot unmarshal !!map into string",
		"name: [\n":                          "f.yaml:1: did not find expected node content",
		"name: a\nname: b\n":                 "f.yaml:2: mapping key \"name\" already defined at line 1",
	} {
		var value struct {
			Name   string   `yaml:"name"`
			Arches []string `yaml:"arches"`
		}
		decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
		decoder.KnownFields(true)
		err := decoder.Decode(&value)
		if err == nil {
			t.Fatalf("%q decodes", text)
		}
		if got := In("f.yaml", err, fields).Error(); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := In("f.yaml", errors.New("the file is empty"), nil).Error(); got != "f.yaml: the file is empty" {
		t.Errorf("got %q", got)
	}
}
