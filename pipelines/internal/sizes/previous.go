package sizes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// Previous is an earlier tarball to compare with.
type Previous struct {
	// Name is its version or, without one, the name of the file.
	Name string
	// Size is its length in bytes. Estimated is true if it has no index.
	Size      int64
	Estimated bool

	report  *Report  // which knows the components
	members []Member // otherwise, everything that is known
}

// MaxReport is the most that the JSON of a report may have, in bytes.
const MaxReport = 64 << 20

// ReadPrevious reads a merged tarball or the JSON of a Report. A tarball without an
// index is decompressed for it.
func ReadPrevious(path string) (*Previous, error) {
	previous, err := readPrevious(path)
	if err != nil {
		return nil, fmt.Errorf("reading the previous release %s: %w", path, err)
	}
	previous.Name = cmp.Or(previous.Name, strings.TrimSuffix(filepath.Base(path), ".tar.zst"))
	return previous, nil
}

func readPrevious(path string) (*Previous, error) {
	file, err := files.OpenNamed(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	head := make([]byte, 64)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimLeft(head[:n], " \t\r\n"), []byte("{")) {
		return ParsePrevious(io.LimitReader(file, MaxReport))
	}
	tarball, err := archive.Inspect(path)
	if err != nil {
		return nil, fmt.Errorf("it is neither a tarball nor a report of `pipelines report`: %w", err)
	}
	return previousTarball(tarball), nil
}

// ParsePrevious reads the JSON of a report, which may come from anywhere.
func ParsePrevious(r io.Reader) (*Previous, error) {
	var report Report
	if err := json.NewDecoder(r).Decode(&report); err != nil {
		return nil, fmt.Errorf("it begins as JSON but is not a report: %w", err)
	}
	if report.Format != reportFormat {
		return nil, fmt.Errorf("it is not a report of format %d, as `pipelines report` writes it, but of format %d", reportFormat, report.Format)
	}
	if err := report.check(); err != nil {
		return nil, err
	}
	return &Previous{Name: report.Version, Size: report.Size, report: &report}, nil
}

// previousTarball estimates the shares of members if the tarball has no index.
func previousTarball(tarball archive.Listing) *Previous {
	p := &Previous{Size: tarball.Size, Estimated: tarball.Frames == 0}
	var unpacked int64
	for _, m := range tarball.Members {
		unpacked += m.Size
	}
	for i := range tarball.Members {
		if m := &tarball.Members[i]; p.Estimated {
			m.Packed = int64(float64(m.Size) / float64(max(unpacked, 1)) * float64(p.Size))
		}
	}
	p.members = membersOf(tarball.Members)
	return p
}

// maxSize is more than any size in a report, and so little that sums do not overflow.
const maxSize = 1 << 40

// check refuses a report that this program did not write: its names are printed and
// walked, its sizes added up.
func (r Report) check() error {
	problem := cmp.Or(checkText(r.Version, r.Set, string(r.Arch)), checkSizes(r.Size, r.Unpacked))
	for _, c := range r.Components {
		problem = cmp.Or(problem, checkText(c.Name), checkSizes(c.Size, c.Unpacked))
		for _, m := range c.Members {
			problem = cmp.Or(problem, m.check())
		}
	}
	return problem
}

func (m Member) check() error {
	member := archive.Member{Name: "./" + m.Name, Link: m.Link}
	if m.Link != "" {
		member.Mode = fs.ModeSymlink
	}
	return cmp.Or(archive.CheckMember(member), checkText(m.SHA256), checkSizes(m.Size, m.Packed))
}

func checkText(texts ...string) error {
	for _, text := range texts {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("control characters in %.100q: no report of this program has any", text)
		}
	}
	return nil
}

func checkSizes(sizes ...int64) error {
	for _, size := range sizes {
		if size < 0 || size > maxSize {
			return fmt.Errorf("a size of %d bytes: want 0 to %d", size, int64(maxSize))
		}
	}
	return nil
}

// components returns the earlier components. A tarball does not name them: its members
// are then given to those of the report now that they most likely belonged to, and the
// rest to a component without a name.
func (p *Previous) components(now Report) []Component {
	if p.report != nil {
		return p.report.Components
	}
	owners := ownersOf(now)
	var all []Component
	for _, m := range p.members {
		if m.Name == "opt/kata/VERSION" || m.Name == "opt/kata/versions.yaml" {
			continue // The merge adds these.
		}
		name := owners.of(m.Name)
		i := slices.IndexFunc(all, func(c Component) bool { return c.Name == name })
		if i < 0 {
			i = len(all)
			all = append(all, Component{Name: name})
		}
		all[i].Members = append(all[i].Members, m)
		all[i].Size += m.Packed
	}
	return all
}

// owners maps paths, stems and folders of a report to components, and what two
// components have to "".
type owners map[string]string

func ownersOf(r Report) owners {
	o := owners{}
	for _, c := range r.Components {
		for _, m := range c.Members {
			for _, key := range ownerKeys(m.Name) {
				if known, there := o[key]; there && known != c.Name {
					o[key] = ""
				} else {
					o[key] = c.Name
				}
			}
		}
	}
	return o
}

// ownerKeys are what a path is looked up by, the most telling first.
func ownerKeys(name string) []string {
	keys := []string{"name " + name, "stem " + stem(name)}
	for dir, _ := path.Split(name); dir != ""; dir, _ = path.Split(strings.TrimSuffix(dir, "/")) {
		keys = append(keys, "dir "+dir)
	}
	return keys
}

// of returns the component that a path most likely belonged to, or "". The nearest
// folder that is known decides.
func (o owners) of(name string) string {
	for _, key := range ownerKeys(name) {
		owner, known := o[key]
		if owner != "" || known && strings.HasPrefix(key, "dir ") {
			return owner
		}
	}
	return ""
}
