package versions

import (
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

func (l *loader) sources(path string, field pair) {
	for _, source := range l.pairs(field.value, path+".sources") {
		where := path + "." + source.name
		if !plainName.MatchString(source.name) {
			l.at(source.key, "%s: the source name %q has characters other than letters, digits, - and _; rename it", path, source.name)
		}
		if source.value.Kind != yaml.SequenceNode {
			l.at(source.value, "%s: %s where a list of places belongs; write - name: lines below it", where, shape(source.value))
			continue
		}
		l.file.sources[where] = Source{Name: source.name, Places: l.places(where, source.value)}
	}
}

func (l *loader) places(source string, list *yaml.Node) []Place {
	if len(list.Content) == 0 {
		l.at(list, "%s: no places; add one, or remove the source", source)
	}
	places := make([]Place, len(list.Content))
	first := map[string]int{}
	for i, node := range list.Content {
		places[i] = l.place(source, node)
		name := places[i].Name
		switch {
		case name == "":
		case first[name] != 0:
			l.at(node, "%s: duplicate place %q, first on line %d; rename one", source, name, first[name])
		default:
			first[name] = node.Line
		}
	}
	return places
}

// place reads one place; its problems are reported with the path of the source.
func (l *loader) place(source string, node *yaml.Node) Place {
	where := source + ", a place"
	place := Place{Line: node.Line}
	pairs := l.pairs(node, where)
	if pairs == nil {
		return place
	}
	found := map[string]bool{}
	for _, pair := range pairs {
		found[pair.name] = true
		switch pair.name {
		case "name":
			place.Name, _ = l.text(pair, source)
		case "sha256":
			place.SHA256 = l.sha256(pair, source)
		case "size":
			place.Size = l.size(pair, source)
		case "url":
			place.URL = l.url(pair, source)
		case "debian":
			place.Debian = l.debian(pair, source)
		case "git":
			place.Git = l.git(pair, source)
		case "go":
			place.Go = l.goModule(pair, source)
		case "goproxy":
			values := l.strings(pair, source+", a goproxy place", goProxyKeys)
			place.GoProxy = &GoProxy{Module: values[0], Version: values[1]}
		default:
			l.unknown(pair, where, placeKeys)
		}
	}
	l.placeShape(where, node, found)
	return place
}

// placeShape checks the combination of keys of a place.
func (l *loader) placeShape(where string, node *yaml.Node, found map[string]bool) {
	var kinds []string
	for _, kind := range placeKinds {
		if found[kind] {
			kinds = append(kinds, kind)
		}
	}
	switch {
	case len(kinds) == 0:
		l.at(node, "%s without a kind; add one of %s", where, strings.Join(placeKinds, ", "))
	case len(kinds) > 1:
		l.at(node, "%s of several kinds: %s; make a place of each", where, strings.Join(kinds, " and "))
	case kinds[0] == "go" && found["sha256"]:
		l.at(node, "%s that is a Go module with a sha256; remove it, the sum is the hash", where)
	case kinds[0] != "go" && kinds[0] != "git" && !found["sha256"]:
		l.at(node, "%s without a sha256; add that of the file", where)
	}
	if !found["name"] {
		l.at(node, "%s without a name; add name: \"upstream\" or the like", where)
	}
}

func (l *loader) sha256(pair pair, where string) string {
	value, ok := l.text(pair, where)
	if ok && !sha256Hex.MatchString(value) {
		l.at(pair.value, "%s: the sha256 %q is not 64 lower-case hex digits; take it from sha256sum", where, value)
	}
	return value
}

func (l *loader) size(pair pair, where string) int64 {
	size, err := strconv.ParseInt(pair.value.Value, 10, 64)
	if err != nil || size <= 0 || pair.value.ShortTag() != "!!int" {
		l.at(pair.value, "%s: the size %q is not a number of bytes; write one like 157422084, or none", where, pair.value.Value)
	}
	return size
}

func (l *loader) url(pair pair, where string) string {
	value, ok := l.text(pair, where)
	if !ok {
		return ""
	}
	l.address(pair.value, value, where)
	return value
}

// address checks an address of something to download.
func (l *loader) address(node *yaml.Node, value, where string) {
	parsed, err := url.Parse(value)
	if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
		l.at(node, "%s: %q is not an address; write https://host/path", where, value)
	}
}

func (l *loader) git(field pair, where string) *Git {
	values := l.strings(field, where+", a git place", gitKeys, "commit", "path", "ref")
	g := &Git{URL: values[0], Commit: values[1], Path: values[2], Ref: values[3]}
	if (g.Commit == "") == (g.Ref == "") {
		l.at(field.key, "%s, a git place: it needs either a commit, or a ref whose commit is not known yet; write one of them", where)
	}
	if g.URL != "" {
		l.address(field.value, g.URL, where)
	}
	if g.Commit != "" && !commitHex.MatchString(g.Commit) {
		l.at(field.value, "%s: the commit %q is not 40 lower-case hex digits; a tag or branch may move, so take what git rev-parse TAG^{commit} prints", where, g.Commit)
	}
	if g.Path != "" && (!fs.ValidPath(g.Path) || g.Path == ".") {
		l.at(field.value, "%s: the path %q is not one below the root of the repository; write folder/folder", where, g.Path)
	}
	return g
}

func (l *loader) debian(field pair, where string) *Debian {
	values := l.strings(field, where+", a Debian place", debianKeys)
	if strings.Contains(values[3], "/") {
		l.at(field.value, "%s: the file %q has a folder; write only its name", where, values[3])
	}
	return &Debian{Package: values[0], Version: values[1], Suite: values[2], File: values[3]}
}

func (l *loader) goModule(field pair, where string) *GoModule {
	values := l.strings(field, where+", a Go place", goKeys)
	if values[2] != "" && !goSum.MatchString(values[2]) {
		l.at(field.value, "%s: the sum %q is not h1: and 44 characters; take it from go mod download -json", where, values[2])
	}
	return &GoModule{Module: values[0], Version: values[1], Sum: values[2]}
}

// strings returns the values of a mapping that has exactly these keys, except that
// the optional ones may be missing.
func (l *loader) strings(field pair, where string, names []string, optional ...string) []string {
	values := make([]string, len(names))
	pairs := l.pairs(field.value, where)
	for _, pair := range pairs {
		i := slices.Index(names, pair.name)
		if i < 0 {
			l.unknown(pair, where, names)
			continue
		}
		values[i], _ = l.text(pair, where)
	}
	for _, name := range names {
		if pairs != nil && !slices.Contains(optional, name) && !slices.ContainsFunc(pairs, func(p pair) bool { return p.name == name }) {
			l.at(field.key, "%s without a %s; add it", where, name)
		}
	}
	return values
}
