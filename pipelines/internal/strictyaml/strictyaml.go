// Package strictyaml reads a YAML file into a Go type, with errors that name the file and
// the line. It stands on gopkg.in/yaml.v3, whose own errors name no file and describe
// fields by Go types, and whose decoded values have no lines.
//
// The caller checks the meaning of the values: a Node locates a problem.
package strictyaml

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// Node is a part of a file with its place.
type Node struct {
	*yaml.Node
	file *file
	line int
}

type file struct {
	name     string
	problems []error
}

// ReadFile is Decode for a file of a tree. Its error wraps that of the tree.
func ReadFile(tree fs.FS, name string, into any) (Node, error) {
	data, err := fs.ReadFile(tree, name)
	if err != nil {
		return Node{}, fmt.Errorf("%s: %w", name, Cause(err))
	}
	return Decode(name, data, into)
}

// Cause drops the operation and path of a file error: the caller names the path.
func Cause(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}

// Decode reads the one document of a file into a value, and returns its root. An
// unknown or duplicate field, a value of another type, an empty file and a second
// document are errors, each with "file:line: " in front.
func Decode(name string, data []byte, into any) (Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return Node{}, located(name, err, reflect.TypeOf(into))
	}
	if document.Kind == 0 {
		return Node{}, fmt.Errorf("%s: the file is empty", name)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		return Node{}, located(name, err, reflect.TypeOf(into))
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Node{}, fmt.Errorf("%s: more than one document in the file", name)
	}
	root := document.Content[0]
	return Node{root, &file{name: name}, root.Line}, nil
}

// At follows field names and list positions down from the node, as far as they exist: the
// place of a missing field is the place of the mapping that lacks it.
func (n Node) At(steps ...any) Node {
	for _, step := range steps {
		key, value := n.child(step)
		if value == nil {
			return Node{&yaml.Node{}, n.file, n.line}
		}
		n = Node{value, n.file, key.Line}
	}
	return n
}

// Line returns the line of the node; for a field, that of its name.
func (n Node) Line() int { return n.line }

// Pos returns "file:line".
func (n Node) Pos() string { return fmt.Sprintf("%s:%d", n.file.name, n.line) }

// Problem adds a problem of the node to those of its file.
func (n Node) Problem(format string, args ...any) {
	n.file.problems = append(n.file.problems, fmt.Errorf("%s: "+format, append([]any{n.Pos()}, args...)...))
}

// Known adds a problem for each name of a kind that is not one of the known ones.
func (n Node) Known(kind string, names, known []string) {
	for _, name := range names {
		if !slices.Contains(known, name) {
			n.Problem("unknown %s %q: choose one of %s%s", kind, name, strings.Join(known, ", "), nearest.Hint(name, known))
		}
	}
}

// Err returns all problems of the file, or nil.
func (n Node) Err() error { return errors.Join(n.file.problems...) }

// child returns the value of a field and its name, or an item of a list twice.
func (n Node) child(step any) (key, value *yaml.Node) {
	if i, ok := step.(int); ok && n.Kind == yaml.SequenceNode && i < len(n.Content) {
		return n.Content[i], n.Content[i]
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == step {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

var (
	line  = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	field = regexp.MustCompile(`^field (\S+) not found in type .+$`)
	// A type that does not fit, with the value if it is a scalar.
	mismatch = regexp.MustCompile("^cannot unmarshal !!(\\S+)(?: (`.*`))? into (.+)$")
)

// located turns an error of the decoder, `line 3: ...`, into `file:3: ...`, one
// error for each problem. The type is that of the value.
func located(file string, err error, into reflect.Type) error {
	messages := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	if typeError, ok := errors.AsType[*yaml.TypeError](err); ok {
		messages = typeError.Errors
	}
	problems := make([]error, len(messages))
	for i, message := range messages {
		where := file
		if m := line.FindStringSubmatch(message); m != nil {
			where, message = file+":"+m[1], m[2]
		}
		if m := field.FindStringSubmatch(message); m != nil {
			message = fmt.Sprintf("unknown field %q%s", m[1], nearest.Hint(m[1], fields(into)))
		}
		if m := mismatch.FindStringSubmatch(message); m != nil {
			message = fmt.Sprintf("want %s, and found %s", words[kind(into, m[3])], cmp.Or(m[2], found[m[1]], m[1]))
		}
		problems[i] = fmt.Errorf("%s: %s", where, message)
	}
	return errors.Join(problems...)
}

// words describe values of a kind, and found those of a YAML type.
var (
	words = map[reflect.Kind]string{
		reflect.Slice: "a list", reflect.Map: "a mapping", reflect.Struct: "a mapping", reflect.String: "text", reflect.Bool: "true or false",
		reflect.Int: "a whole number", reflect.Int64: "a whole number", reflect.Invalid: "another kind of value",
	}
	found = map[string]string{"map": "a mapping", "seq": "a list"}
)

// kind returns the kind of the type with a name that a type has at some depth.
func kind(t reflect.Type, name string) reflect.Kind {
	if t.String() == name {
		return t.Kind()
	}
	switch t.Kind() {
	case reflect.Map:
		return cmp.Or(kind(t.Key(), name), kind(t.Elem(), name))
	case reflect.Pointer, reflect.Slice:
		return kind(t.Elem(), name)
	case reflect.Struct:
		for i := range t.NumField() {
			if k := kind(t.Field(i).Type, name); k != reflect.Invalid {
				return k
			}
		}
	}
	return reflect.Invalid
}

// fields returns the names of all fields that a type can have, at any depth. A
// type may not contain itself.
func fields(t reflect.Type) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return fields(t.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "-" {
			continue
		}
		names = append(append(names, name), fields(t.Field(i).Type)...)
	}
	return names
}
