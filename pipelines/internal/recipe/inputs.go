package recipe

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Input is one thing that decides what a build produces.
type Input struct {
	// Kind is one of kinds; Kind and Name identify an input.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Value is never empty.
	Value string `json:"value"`
}

// kinds are the kinds of inputs, in the order in which Diff lists them.
var kinds = []string{
	"schema", "asset", "pin", "variable", "source", "place", "option", "file", "builder",
	"package", "root", "step", "member", "dependency", "secret", "kernel", "exception", "output",
}

// present is the value of an input that is only a name.
const present = "present"

// Inputs returns everything in the recipe, each input once, by kind and then in the
// order of the recipe. Two recipes have the same inputs if and only if they have the
// same key.
func (r Recipe) Inputs() []Input {
	list := inputs{}
	list.add("schema", "recipe", strconv.Itoa(r.Schema))
	list.add("asset", "name", r.Asset)
	list.add("asset", "arch", r.Arch)
	for _, pin := range r.Pins {
		list.add("pin", pin.Path, pin.Value)
		list.add("variable", pin.Env, pin.Path)
	}
	for _, source := range r.Sources {
		source.inputs(&list)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Options)) {
		list.add("option", name, r.Options[name])
	}
	for _, file := range r.Files {
		list.add("file", file.Path, file.Mode+" sha256:"+file.SHA256)
	}
	for _, member := range r.Import {
		list.add("member", member.From, strings.TrimSuffix(member.To+" "+member.Mode, " "))
	}
	if !r.Imported() {
		r.Builder.inputs(&list)
		r.steps(&list)
	}
	if r.Root != nil {
		r.Root.rootInputs(&list)
	}
	for _, dependency := range r.Dependencies {
		list.add("dependency", dependency.Asset, dependency.Digest)
		for _, output := range dependency.Outputs {
			list.add("dependency", dependency.Asset+" "+output.Name, output.Digest)
		}
	}
	for _, secret := range r.Secrets {
		list.add("secret", secret.Name, secret.Fingerprint)
	}
	if r.Kernel != nil {
		r.Kernel.inputs(&list)
	}
	list.add("output", "format", r.Output.Format)
	list.add("output", "level", strconv.Itoa(r.Output.Level))
	list.add("output", "time stamp", strconv.FormatInt(r.Output.SourceDateEpoch, 10))
	list.list("output", "outputs", r.Output.Outputs)
	for _, image := range r.Output.Images {
		list.list("output", "image "+image.Path, image.inputs())
	}
	slices.SortStableFunc(list, func(a, b Input) int { return byKind(a.Kind, b.Kind) })
	return list
}

func (r Recipe) steps(list *inputs) {
	var order []string
	for _, step := range r.Steps {
		order = append(order, step.Name)
		list.list("step", step.Name, step.inputs())
	}
	list.list("step", "order", order)
}

func byKind(a, b string) int { return slices.Index(kinds, a) - slices.Index(kinds, b) }

func (s Source) inputs(list *inputs) {
	list.add("source", s.Name, s.Path)
	var places []string
	for _, place := range s.Places {
		places = append(places, place.Name)
		list.add("place", s.Name+" from "+place.Name, place.Hash)
	}
	list.list("source", s.Name+" places", places)
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
	list.add("builder", "distribution", b.Distribution)
	list.add("builder", "suite", b.Suite)
	list.add("builder", "image", b.Image)
	list.add("builder", "epoch", strconv.Itoa(b.Epoch))
	for _, name := range b.Packages {
		list.add("package", name, present)
	}
	for _, name := range b.Cross {
		list.add("package", name+" (cross)", present)
	}
}

// rootInputs are the inputs of a root filesystem.
func (b Builder) rootInputs(list *inputs) {
	list.add("root", "distribution", b.Distribution)
	list.add("root", "release", b.Suite)
	list.add("root", "image", b.Image)
	list.add("root", "epoch", strconv.Itoa(b.Epoch))
	list.add("root", "manager", b.Manager)
	list.add("root", "repository", b.Repository)
	list.add("root", "keyring", b.Keyring)
	for _, name := range b.Packages {
		list.add("root", "package "+name, present)
	}
	for _, name := range b.Remove {
		list.add("root", "removed "+name, present)
	}
	for _, locked := range b.Locked {
		list.add("root", "locked "+locked.Name, locked.Version+" "+locked.Hash)
	}
}

func (k Kernel) inputs(list *inputs) {
	list.list("kernel", "configs", k.Configs)
	list.add("kernel", "suffix", k.Suffix)
	list.add("kernel", "config version", strconv.Itoa(k.ConfigVersion))
	for _, exception := range k.Exceptions {
		list.add("exception", exception, present)
	}
}

// inputs is a list under construction.
type inputs []Input

// add appends an input unless it is there already: two variables can read one pin.
func (l *inputs) add(kind, name, value string) {
	// Quoting keeps an empty value distinct from a quoted one.
	if value == "" || strings.Contains(value, `"`) {
		value = strconv.Quote(value)
	}
	if input := (Input{kind, name, value}); !slices.Contains(*l, input) {
		*l = append(*l, input)
	}
}

// list appends an input whose value is a list.
func (l *inputs) list(kind, name string, values []string) {
	if len(values) == 0 {
		values = []string{"-"}
	}
	l.add(kind, name, strings.Join(values, " "))
}

// Common returns how many inputs two recipes share.
func Common(a, b Recipe) int {
	has := a.Inputs()
	return len(slices.DeleteFunc(b.Inputs(), func(input Input) bool { return !slices.Contains(has, input) }))
}

// Change is an input that differs between two recipes. Old is empty for an added
// input, New for a removed one.
type Change struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// Diff returns the changes of inputs from one recipe to another, by kind and name.
// It leaves out files that the program generates from others, unless no other
// change explains them.
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
		return cmp.Or(byKind(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	isDerived := func(c Change) bool { return c.Kind == "file" && isGenerated(c.Name) }
	if told := slices.DeleteFunc(slices.Clone(diff), isDerived); len(told) > 0 {
		return told
	}
	return diff
}

// String describes the change in one line: "kernel-configs/debug/ebpf.conf
// changed", "assets.kernel.version v6.18.15 -> v6.18.16", "package gcc added".
func (c Change) String() string {
	label := c.Kind + " " + c.Name
	switch c.Kind {
	case "pin", "file":
		label = c.Name
	case "place":
		label = "source " + c.Name
	case "schema":
		label = c.Name + " " + c.Kind
	}
	switch {
	case c.Old == "":
		return label + " added"
	case c.New == "":
		return label + " removed"
	case c.Kind == "file":
		return label + " changed"
	}
	return fmt.Sprintf("%s %s -> %s", label, short(c.Old), short(c.New))
}

// short shortens a hash for people.
func short(value string) string {
	before, hash, found := strings.Cut(value, "sha256:")
	if !found {
		return value
	}
	return before + "sha256:" + hash[:min(12, len(hash))]
}
