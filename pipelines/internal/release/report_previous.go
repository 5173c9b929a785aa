package release

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// Previous is an earlier tarball to compare with.
type Previous struct {
	// Name is its version, or that of the file.
	Name string
	// Size is its length in bytes, Estimated true where it has no index.
	Size      int64
	Estimated bool

	// listing is true where Size is that of the members alone.
	listing bool
	report  *Report        // of which the components are known
	members []ReportMember // or else all there are
}

// maxPrevious bounds the JSON that is read.
const maxPrevious = 64 << 20

// ReadPrevious reads a merged tarball, with an index or without, the JSON of a
// Report, or the JSON that `archive ls --json` prints of a tarball. One without an
// index is decompressed for it.
func ReadPrevious(path string) (*Previous, error) {
	previous, err := readPrevious(path)
	if err != nil {
		return nil, fmt.Errorf("reading the previous release %s: %w", path, err)
	}
	previous.Name = strings.TrimSuffix(filepath.Base(path), tarballSuffix)
	if previous.report != nil && previous.report.Version != "" {
		previous.Name = previous.report.Version
	}
	return previous, nil
}

func readPrevious(path string) (*Previous, error) {
	// Opening a pipe would wait for somebody to write to it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("it is no file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	head := make([]byte, 64)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if text := bytes.TrimLeft(head[:n], " \t\r\n"); len(text) > 0 && (text[0] == '{' || text[0] == '[') {
		return previousJSON(io.LimitReader(file, maxPrevious), text[0] == '[')
	}
	index, err := archive.ReadIndex(file, info.Size())
	if errors.Is(err, archive.ErrNoIndex) {
		return previousList(file, info.Size())
	}
	if err != nil {
		return nil, err
	}
	return &Previous{Size: info.Size(), members: reportMembers(index.Sized())}, nil
}

// previousJSON reads a report, or a list of members.
func previousJSON(r io.Reader, list bool) (*Previous, error) {
	if list {
		return previousListing(r)
	}
	var report Report
	if err := json.NewDecoder(r).Decode(&report); err != nil {
		return nil, fmt.Errorf("it begins as JSON and is no report: %w", err)
	}
	if report.Format != reportFormat {
		return nil, fmt.Errorf("it is no report of format %d, as `pipelines report` writes it, but has format %d", reportFormat, report.Format)
	}
	if err := report.check(); err != nil {
		return nil, err
	}
	return &Previous{Size: report.Size, report: &report}, nil
}

// previousListing reads what `archive ls --json` prints. The length of the index is
// not in it.
func previousListing(r io.Reader) (*Previous, error) {
	var members []ReportMember
	if err := json.NewDecoder(r).Decode(&members); err != nil {
		return nil, fmt.Errorf("it begins as JSON and is no list of members: %w", err)
	}
	previous := &Previous{listing: true}
	for _, m := range members {
		if m.Name == "" {
			return nil, errors.New("it is a list in JSON, but not of members, as `pipelines archive ls --json` prints it")
		}
		if err := m.check(); err != nil {
			return nil, err
		}
		previous.Size += m.Packed
		if m.Name = strings.TrimPrefix(m.Name, "./"); !strings.HasSuffix(m.Name, "/") {
			previous.members = append(previous.members, m)
		}
	}
	if previous.Size == 0 {
		return nil, errors.New("no member says what it takes of the tarball: list one that has an index")
	}
	return previous, nil
}

// previousList reads a tarball that was built elsewhere.
func previousList(r io.Reader, size int64) (*Previous, error) {
	listed, err := archive.List(r)
	if err != nil {
		return nil, err
	}
	var unpacked int64
	sized := make([]archive.Sized, len(listed))
	for _, m := range listed {
		unpacked += m.Size
	}
	for i, m := range listed {
		sized[i] = archive.Sized{Member: m, Packed: int64(float64(m.Size) / float64(max(unpacked, 1)) * float64(size))}
	}
	return &Previous{Size: size, Estimated: true, members: reportMembers(sized)}, nil
}

// size is what the size of a report now, with own bytes of the merge itself, can be
// compared with.
func (p *Previous) size(own int64, components []ReportComponent) int64 {
	if !p.listing {
		return p.Size
	}
	for _, c := range components {
		own += c.Size
	}
	return own
}

// maxSize is more than any size in a report, and so little that sums stay numbers.
const maxSize = 1 << 40

// check refuses a report that no program wrote: its names are printed, its sizes
// added up.
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

func (m ReportMember) check() error {
	return cmp.Or(checkText(m.Name, m.Link, m.SHA256), checkSizes(m.Size, m.Packed))
}

func checkText(texts ...string) error {
	for _, text := range texts {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("it has control characters in %.100q: no report of this program has", text)
		}
	}
	return nil
}

func checkSizes(sizes ...int64) error {
	for _, size := range sizes {
		if size < 0 || size > maxSize {
			return fmt.Errorf("it has a size of %d bytes: want 0 to %d", size, int64(maxSize))
		}
	}
	return nil
}

// components returns the earlier components: those of its report, or else those of
// the report now that its members most likely belonged to, and one without a name
// for the others.
func (p *Previous) components(now Report) []ReportComponent {
	if p.report != nil {
		return p.report.Components
	}
	owners := ownersOf(now)
	var all []ReportComponent
	for _, m := range p.members {
		if m.Name == versionMember[2:] || m.Name == pinsMember[2:] {
			continue
		}
		name := owners.of(m.Name)
		i := slices.IndexFunc(all, func(c ReportComponent) bool { return c.Name == name })
		if i < 0 {
			i = len(all)
			all = append(all, ReportComponent{Name: name})
		}
		all[i].Members = append(all[i].Members, m)
		all[i].Size += m.Packed
	}
	return all
}
