package kconfig

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/nearest"
)

// FactsSuffix ends the name of the file of facts next to a final .config.
const FactsSuffix = ".facts"

// Facts are what the Kconfig files of a kernel tree say about its options, and why
// requested ones are not in the final configuration. assets/kernel/explain.c writes
// them.
type Facts struct {
	// names are the names of all options of the tree, without CONFIG_, sorted.
	names []string
	// about has the facts by option and kind; see kinds.
	about map[string]map[string][]string
}

// ParseFacts reads a file of facts: a line NAME for each option of the tree, and
// lines NAME, a tab, kind, a tab, text. The error names the line.
func ParseFacts(data []byte) (*Facts, error) {
	facts := &Facts{about: map[string]map[string][]string{}}
	for number, line := range lines(data) {
		fields := strings.Split(line, "\t")
		switch {
		case !validName.MatchString("CONFIG_"+fields[0]) || len(fields) != 1 && len(fields) != 3:
			return nil, fmt.Errorf("line %d of the facts about options is %s: want NAME, or NAME, kind and text separated by tabs",
				number, quote(line))
		case len(fields) == 1:
			facts.names = append(facts.names, line)
		default:
			if facts.about[fields[0]] == nil {
				facts.about[fields[0]] = map[string][]string{}
			}
			texts := facts.about[fields[0]]
			texts[fields[1]] = append(texts[fields[1]], fields[2])
		}
	}
	slices.Sort(facts.names)
	return facts, nil
}

// explain says why Linux dropped an option, as the continuation of a message, or "" if the
// facts do not show it.
func (f *Facts) explain(option Option) string {
	if f == nil || len(f.names) == 0 {
		return ""
	}
	name := strings.TrimPrefix(option.Name, "CONFIG_")
	if _, known := slices.BinarySearch(f.names, name); !known {
		return "; Linux has no such option" + f.near(name)
	}
	var texts []string
	for _, kind := range kinds {
		facts := f.about[name][kind.name]
		if len(facts) > 0 && (kind.name != "type" || option.Value != "y" && option.Value != "n") {
			texts = append(texts, "; "+kind.text+strings.Join(facts, " and "))
		}
	}
	return strings.Join(texts, "")
}

// kinds are the kinds of facts, each with the words that introduce it.
var kinds = []struct{ name, text string }{
	{"hidden", "it has no prompt, so that only another option sets it"},
	{"selects", "it is switched on by "},
	{"needs", "it depends on "},
	{"choice", "it is in a choice, which is set to CONFIG_"},
	{"range", "it is a number in the range "},
	{"type", "its type in Linux is "},
}

// near suggests up to three options with names close to an unknown one.
func (f *Facts) near(name string) string {
	const limit = 3
	var found []string
	candidates := slices.Clone(f.names)
	for range limit {
		best := nearest.Of(name, candidates)
		if best == "" {
			break
		}
		found = append(found, "CONFIG_"+best)
		candidates = slices.DeleteFunc(candidates, func(c string) bool { return c == best })
	}
	if len(found) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(found, ", ") + "?"
}
