package trust

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// used returns what a build was made of, from its recipe, if it has one, and its record:
// its sources, base, builder, packages, and the artifacts that it depends on.
func used(recipe, record []byte) (all []Resource, err error) {
	var declared struct {
		Builder      struct{ Distribution string }
		Dependencies []struct{ Asset, Digest string }
	}
	var found struct {
		Base, Builder string
		Packages      []string
		Sources       []struct{ Name, Place, SHA256 string }
	}
	if recipe == nil {
		recipe = []byte("{}")
	}
	if err := json.Unmarshal(recipe, &declared); err != nil {
		return nil, fmt.Errorf("reading a recipe: %w", err)
	}
	if err := json.Unmarshal(record, &found); err != nil {
		return nil, fmt.Errorf("reading the record of a build: %w", err)
	}
	for _, s := range found.Sources {
		all = append(all, Resource{Name: s.Name + " from " + s.Place, Digest: digestSet("sha256:" + s.SHA256)})
	}
	for _, image := range []struct{ name, value string }{{"base", found.Base}, {"builder", found.Builder}} {
		if at := strings.LastIndex(image.value, "sha256:"); at >= 0 {
			all = append(all, Resource{Name: image.name, Digest: digestSet(image.value[at:])})
		}
	}
	for _, d := range declared.Dependencies {
		all = append(all, Resource{Name: d.Asset, Digest: digestSet(d.Digest)})
	}
	for _, p := range found.Packages {
		name, version, _ := strings.Cut(p, "=")
		all = append(all, Resource{URI: "pkg:deb/" + declared.Builder.Distribution + "/" + name + "@" + url.QueryEscape(version)})
	}
	return all, nil
}
