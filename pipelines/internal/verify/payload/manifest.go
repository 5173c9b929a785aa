package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// manifest is what the installer says about an installation, in the file next to it.
type manifest struct {
	Tree           string
	Files, Outside []struct{ Path, SHA256, Link string }
}

// stateFile is the file with the manifests of the installation in a folder.
func stateFile(dir string) string { return dir + ".manifest.json" }

// agrees expects the manifest of an installation, which a pod made, to list exactly the files
// of its folder, as they are, and those outside of it. It returns how many there are.
func (r *run) agrees(p *pod, t tree, dir string) (int, error) {
	var state struct {
		Current, Next *manifest
	}
	data, err := os.ReadFile(r.node.Path(stateFile(dir)))
	if err == nil {
		err = json.Unmarshal(data, &state)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the manifest: %w", err)
	}
	if state.Current == nil || state.Next != nil {
		return 0, fmt.Errorf("%s has no current installation, or one that goes on", stateFile(dir))
	}
	listed := map[string]string{}
	for _, f := range state.Current.Files {
		listed[path.Join(dir, f.Path)] = f.SHA256 + f.Link
	}
	var problems []error
	for _, f := range state.Current.Outside {
		at := p.onNode(f.Path)
		listed[at] = f.SHA256 + f.Link
		if what := t[at]; !strings.HasSuffix(what, listed[at]) || what == "" {
			problems = append(problems, fmt.Errorf("%s is %q, and the manifest has %s", at, what, listed[at]))
		}
	}
	for at, what := range t.below(dir) {
		sum, known := listed[at]
		delete(listed, at)
		switch {
		case strings.HasPrefix(what, "d"):
		case !known:
			problems = append(problems, fmt.Errorf("%s is not in the manifest", at))
		case !strings.HasSuffix(what, sum):
			problems = append(problems, fmt.Errorf("%s is %s, and the manifest has %s", at, what, sum))
		}
	}
	for at := range listed {
		if strings.HasPrefix(at, dir+"/") {
			problems = append(problems, fmt.Errorf("the manifest lists %s, which is not there", at))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	const most = 10
	return len(state.Current.Files) + len(state.Current.Outside), errors.Join(problems[:min(most, len(problems))]...)
}
