package recipe

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// Given is a local archive, folder or program that replaces the source of an import, or
// all that a built asset is made of.
type Given struct {
	Path string
	// SHA256 is that of a file, or of the selected members of a folder, in hex.
	SHA256 string
}

// GivenPlace is the name of the place of a local archive with other content than any
// declared one.
const GivenPlace = "given"

// places returns the declared places if one of them has the given content, and otherwise
// one for the given content, so that the key is another.
func (g Given) places(declared []versions.Place) []versions.Place {
	if slices.ContainsFunc(declared, func(p versions.Place) bool { return p.SHA256 == g.SHA256 }) {
		return declared
	}
	return []versions.Place{{Name: GivenPlace, URL: g.Path, SHA256: g.SHA256}}
}

// replace makes a local archive, folder or program the only source of an asset.
func (p *Plan) replace(asset string, given Given) {
	places := given.places(nil)
	p.Given = given
	p.Sources = []versions.Source{{Name: asset, Places: places}}
	p.Recipe.Sources = []Source{{Name: asset, Places: []Place{{places[0].Name, places[0].Hash()}}}}
}

// FromGiven reports whether the members are those of a local archive with other content
// than any declared one: a local copy of a declared archive is read as the declared one,
// whose key it has.
func (r Recipe) FromGiven() bool {
	return slices.ContainsFunc(r.Sources, func(s Source) bool { return len(s.Places) > 0 && s.Places[0].Name == GivenPlace })
}

// members adds the members of an import.
func (r Resolver) members(plan *Plan, asset catalog.Asset, _ catalog.Arch) error {
	if asset.Import == nil {
		return nil
	}
	for _, from := range slices.Sorted(maps.Keys(asset.Import.Members)) {
		to := asset.Import.Members[from]
		plan.Recipe.Import = append(plan.Recipe.Import, Member{
			From: plan.expand(strings.TrimPrefix(from, "./")), To: plan.expand(to), Mode: asset.Import.Modes[to],
		})
	}
	return nil
}

// expand replaces the variables of pins in a text by their values.
func (p *Plan) expand(text string) string {
	return os.Expand(text, func(name string) string {
		for _, pin := range p.Recipe.Pins {
			if pin.Env == name {
				return pin.Value
			}
		}
		return ""
	})
}

// nowhere says that an import cannot be had.
func nowhere(path string) string {
	return fmt.Sprintf("%s has no place of the source %s for this version; add one, with its sha256", versions.LockFile, path)
}

// Origin says how an asset comes into being.
type Origin struct {
	How How `json:"how"`
	// From are the places of an imported asset, in words.
	From []string `json:"from"`
	// Why says why an asset is out of reach, "" for others.
	Why string `json:"why"`
}

// How is the way that an asset comes into being.
type How string

// The ways that an asset comes into being.
const (
	Built    How = "built"
	Imported How = "imported"
	// OutOfReach is for an asset that cannot be had before the lock is completed.
	OutOfReach How = "out of reach"
)

// String describes the origin in one line.
func (o Origin) String() string {
	switch o.How {
	case Imported:
		return string(o.How) + " from " + strings.Join(o.From, " or ")
	case OutOfReach:
		return string(o.How) + ": " + o.Why
	}
	return string(o.How)
}

// Origin returns the origin of an asset, as Asset.On returns it.
func (r Resolver) Origin(asset catalog.Asset) (Origin, error) {
	o := Origin{How: Built, From: []string{}}
	if asset.Import != nil {
		o.How = Imported
	}
	if asset.Import != nil && asset.Import.Source == "" {
		o.From = []string{r.Given[asset.Name].Path + " (--source)"}
	}
	for _, path := range slices.Sorted(maps.Values(asset.Pins)) {
		if _, err := r.Versions.Pin(path); err != nil {
			return o.unlocked(asset, err)
		}
	}
	for _, path := range slices.Sorted(maps.Values(asset.Sources)) {
		source, err := r.Versions.Source(path)
		if err != nil {
			return o.unlocked(asset, err)
		}
		if given, found := r.Given[asset.Name]; found {
			o.From = append(o.From, given.Path+" (--source)")
			continue
		}
		switch {
		case len(source.Places) > 0 && !slices.ContainsFunc(source.Places, versions.Place.Pinned):
			o.How, o.Why = OutOfReach, "the source "+path+" has no pinned hash or commit"
			return o, nil
		case len(source.Places) == 0 && asset.Import != nil:
			o.How, o.Why = OutOfReach, nowhere(path)
			return o, nil
		}
		for _, place := range source.Places {
			if asset.Import != nil && place.Pinned() {
				o.From = append(o.From, place.Holds())
			}
		}
	}
	return r.rootOrigin(asset, o)
}

// Origins returns the origins of assets, which are given with dependencies first. What
// needs an asset that is out of reach is out of reach.
func (r Resolver) Origins(closure []catalog.Asset) (map[string]Origin, error) {
	origins := map[string]Origin{}
	for _, asset := range closure {
		o, err := r.Origin(asset)
		if err != nil {
			return nil, err
		}
		for _, name := range asset.Dependencies {
			if origins[name].How == OutOfReach && o.How != OutOfReach {
				o = Origin{How: OutOfReach, From: []string{}, Why: "it needs " + name + ", and " + origins[name].Why}
			}
		}
		origins[asset.Name] = o
	}
	return origins, nil
}

// unlocked is Origin for an asset with a version that the lock does not know.
func (o Origin) unlocked(asset catalog.Asset, err error) (Origin, error) {
	if !errors.As(err, new(*versions.Unlocked)) {
		return o, fmt.Errorf("%s: %s: %w", asset.Pos, asset.Name, err)
	}
	o.How, o.Why = OutOfReach, err.Error()
	return o, nil
}
