package verify

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// checkMembers holds the members of the tarball against those that users and
// installers rely on, no more and no less.
func (k Kernel) checkMembers(report *Report, members []archive.Member) {
	names := k.names()
	links := map[string]string{
		"vmlinuz" + k.suffix() + ".container": names.vmlinuz,
		"vmlinux" + k.suffix() + ".container": names.vmlinux,
	}
	wanted := slices.Clone(names.all())
	for link := range links {
		wanted = append(wanted, link)
	}
	slices.Sort(wanted)
	found := map[string]archive.Member{}
	var problems []string
	for _, m := range members {
		name := strings.TrimPrefix(m.Name, "./")
		base, inside := strings.CutPrefix(name, folder+"/")
		switch {
		case m.Mode.IsDir() && above(name):
		case !inside || !slices.Contains(wanted, base):
			problems = append(problems, fmt.Sprintf("%s does not belong to the asset", m.Name))
		default:
			found[base] = m
		}
	}
	for _, name := range wanted {
		m, there := found[name]
		switch target := links[name]; {
		case !there:
			problems = append(problems, fmt.Sprintf("./%s/%s is missing", folder, name))
		case target == "" && (!m.Mode.IsRegular() || m.Mode.Perm() != 0o644):
			problems = append(problems, fmt.Sprintf("%s has mode %s: want a file with 0644", m.Name, m.Mode))
		case target == "" && m.Size == 0:
			problems = append(problems, fmt.Sprintf("%s is empty", m.Name))
		case target != "" && m.Mode.Type() != fs.ModeSymlink:
			problems = append(problems, fmt.Sprintf("%s has mode %s: want a link to %s", m.Name, m.Mode, target))
		}
	}
	report.Judge("members", problems, "%d files and %d links below %s", len(names.all()), len(links), folder)
	checkLinks(report, members, links)
}

// above says whether a folder is the one of kernels, or leads to it.
func above(name string) bool {
	for dir := folder; dir != "."; dir = path.Dir(dir) {
		if name == dir+"/" {
			return true
		}
	}
	return false
}

// checkLinks follows every link of the tarball.
func checkLinks(report *Report, members []archive.Member, links map[string]string) {
	files := map[string]bool{}
	for _, m := range members {
		files[path.Clean(m.Name)] = true
	}
	var problems, seen []string
	for _, m := range members {
		if m.Mode.Type() != fs.ModeSymlink {
			continue
		}
		base := path.Base(m.Name)
		switch target := path.Join(path.Dir(m.Name), m.Link); {
		case !files[target]:
			problems = append(problems, fmt.Sprintf("%s links to %s, which is not in the tarball", m.Name, m.Link))
		case links[base] != "" && m.Link != links[base]:
			problems = append(problems, fmt.Sprintf("%s links to %s: want %s", m.Name, m.Link, links[base]))
		default:
			seen = append(seen, base+" -> "+m.Link)
		}
	}
	if len(seen)+len(problems) == 0 {
		problems = append(problems, "no links: the runtime's configuration names "+strings.Join(slices.Sorted(maps.Keys(links)), " and "))
	}
	report.Judge("links", problems, "%s", strings.Join(seen, ", "))
}
