package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Input is one thing that decides on what is built.
type Input struct {
	// Kind is one of the kinds below; it and Name tell inputs apart.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Value is never empty.
	Value string `json:"value"`
}

// The kinds of inputs, in the order in which they are told.
const (
	kindSchema     = "schema"
	kindAsset      = "asset"
	kindPin        = "pin"
	kindVariable   = "variable"
	kindSource     = "source"
	kindPlace      = "place"
	kindOption     = "option"
	kindFile       = "file"
	kindBuilder    = "builder"
	kindPackage    = "package"
	kindStep       = "step"
	kindDependency = "dependency"
	kindSecret     = "secret"
	kindKernel     = "kernel"
	kindException  = "exception"
	kindOutput     = "output"
)

var kinds = []string{
	kindSchema, kindAsset, kindPin, kindVariable, kindSource, kindPlace, kindOption, kindFile, kindBuilder,
	kindPackage, kindStep, kindDependency, kindSecret, kindKernel, kindException, kindOutput,
}

// present is the value of an input that is there or not.
const present = "present"

// Inputs returns everything that is in the recipe, each input once, in an order
// that the recipe decides. Two recipes have the same inputs if and only if they
// have the same key.
func (r Recipe) Inputs() []Input {
	list := inputs{}
	list.add(kindSchema, "recipe", strconv.Itoa(r.Schema))
	list.add(kindAsset, "name", r.Asset)
	list.add(kindAsset, "arch", r.Arch)
	for _, pin := range r.Pins {
		list.add(kindPin, pin.Path, pin.Value)
		list.add(kindVariable, pin.Env, pin.Path)
	}
	for _, source := range r.Sources {
		list.add(kindSource, source.Name, source.Path)
		var places []string
		for _, place := range source.Places {
			places = append(places, place.Name)
			list.add(kindPlace, source.Name+" from "+place.Name, place.Hash)
		}
		list.list(kindSource, source.Name+" places", places)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Options)) {
		list.add(kindOption, name, r.Options[name])
	}
	for _, file := range r.Files {
		list.add(kindFile, file.Path, file.Mode+" sha256:"+file.SHA256)
	}
	r.Builder.inputs(&list)
	var steps []string
	for _, step := range r.Steps {
		steps = append(steps, step.Name)
		list.list(kindStep, step.Name, step.inputs())
	}
	list.list(kindStep, "order", steps)
	for _, dependency := range r.Dependencies {
		list.add(kindDependency, dependency.Asset, dependency.Digest)
		for _, output := range dependency.Outputs {
			list.add(kindDependency, dependency.Asset+" "+output.Name, output.Digest)
		}
	}
	for _, secret := range r.Secrets {
		list.add(kindSecret, secret.Name, secret.Fingerprint)
	}
	if r.Kernel != nil {
		r.Kernel.inputs(&list)
	}
	list.add(kindOutput, "format", r.Output.Format)
	list.add(kindOutput, "level", strconv.Itoa(r.Output.Level))
	list.add(kindOutput, "time stamp", strconv.FormatInt(r.Output.SourceDateEpoch, 10))
	list.list(kindOutput, "outputs", r.Output.Outputs)
	return list
}

func (s Step) inputs() []string {
	values := []string{s.Script}
	if s.Config != "" {
		values = append(values, s.Config)
	}
	if s.Alone {
		values = append(append(values, "alone"), s.Only...)
	}
	return values
}

func (b Builder) inputs(list *inputs) {
	list.add(kindBuilder, "distribution", b.Distribution)
	list.add(kindBuilder, "suite", b.Suite)
	list.add(kindBuilder, "image", b.Image)
	list.add(kindBuilder, "epoch", strconv.Itoa(b.Epoch))
	for _, name := range b.Packages {
		list.add(kindPackage, name, present)
	}
	for _, name := range b.Cross {
		list.add(kindPackage, name+" (cross)", present)
	}
}

func (k Kernel) inputs(list *inputs) {
	list.list(kindKernel, "configs", k.Configs)
	list.add(kindKernel, "suffix", k.Suffix)
	list.add(kindKernel, "config version", strconv.Itoa(k.ConfigVersion))
	for _, exception := range k.Exceptions {
		list.add(kindException, exception, present)
	}
}

// inputs is a list that is being made.
type inputs []Input

// add appends an input, unless it is there: two variables may read one pin.
func (l *inputs) add(kind, name, value string) {
	// What is empty, or looks as if it were, can be told apart.
	if value == "" || strings.Contains(value, `"`) {
		value = strconv.Quote(value)
	}
	if input := (Input{kind, name, value}); !slices.Contains(*l, input) {
		*l = append(*l, input)
	}
}

// list appends an input whose value is a list of names.
func (l *inputs) list(kind, name string, values []string) {
	if len(values) == 0 {
		values = []string{"-"}
	}
	l.add(kind, name, strings.Join(values, " "))
}

// Common returns how many inputs two recipes share.
func Common(a, b Recipe) int {
	has := map[Input]bool{}
	for _, input := range a.Inputs() {
		has[input] = true
	}
	common := 0
	for _, input := range b.Inputs() {
		if has[input] {
			common++
		}
	}
	return common
}

// Change is an input that two recipes do not share. Old is empty where it was
// added, New where it was removed.
type Change struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// Diff returns what became of the inputs of a recipe, by kind and name. Files
// that the program makes of others are left out, unless nothing else tells why
// they changed.
func Diff(before, after Recipe) []Change {
	type name struct{ kind, name string }
	changes := map[name]Change{}
	for _, input := range before.Inputs() {
		changes[name{input.Kind, input.Name}] = Change{input.Kind, input.Name, input.Value, ""}
	}
	for _, input := range after.Inputs() {
		at := name{input.Kind, input.Name}
		change := changes[at]
		if change.Old == input.Value {
			delete(changes, at)
			continue
		}
		changes[at] = Change{input.Kind, input.Name, change.Old, input.Value}
	}
	diff := slices.SortedFunc(maps.Values(changes), func(a, b Change) int {
		if a.Kind != b.Kind {
			return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind)
		}
		return strings.Compare(a.Name, b.Name)
	})
	isDerived := func(c Change) bool { return c.Kind == kindFile && isGenerated(c.Name) }
	if told := slices.DeleteFunc(slices.Clone(diff), isDerived); len(told) > 0 {
		return told
	}
	return diff
}

// String tells the change by name, in one line: "kernel-configs/debug/ebpf.conf
// changed", "assets.kernel.version v6.18.15 -> v6.18.16", "package gcc added".
func (c Change) String() string {
	label := c.Kind + " " + c.Name
	switch c.Kind {
	case kindPin, kindFile:
		label = c.Name
	case kindPlace:
		label = "source " + c.Name
	case kindSchema:
		label = c.Name + " " + c.Kind
	}
	switch {
	case c.Old == "":
		return label + " added"
	case c.New == "":
		return label + " removed"
	case c.Kind == kindFile:
		return label + fileChange(c.Old, c.New)
	}
	return fmt.Sprintf("%s %s -> %s", label, short(c.Old), short(c.New))
}

func fileChange(before, after string) string {
	oldMode, oldHash, _ := strings.Cut(before, " ")
	newMode, newHash, _ := strings.Cut(after, " ")
	if oldHash != newHash {
		return " changed"
	}
	return fmt.Sprintf(" mode %s -> %s", oldMode, newMode)
}

// short leaves as much of a hash as a person compares.
func short(value string) string {
	before, hash, found := strings.Cut(value, "sha256:")
	if !found {
		return value
	}
	return before + "sha256:" + hash[:min(12, len(hash))]
}
