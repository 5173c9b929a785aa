package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// Previous is an earlier tarball to compare with.
type Previous struct {
	// Name is its version, or that of the file.
	Name string
	// Size is its length in bytes, Estimated true where it has no index.
	Size      int64
	Estimated bool

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
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no file")
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
	return &Previous{Size: report.Size, report: &report}, nil
}

// previousListing reads what `archive ls --json` prints. The length of the index is
// not in it.
func previousListing(r io.Reader) (*Previous, error) {
	var members []ReportMember
	if err := json.NewDecoder(r).Decode(&members); err != nil {
		return nil, fmt.Errorf("it begins as JSON and is no list of members: %w", err)
	}
	previous := &Previous{}
	for _, m := range members {
		if m.Name == "" {
			return nil, errors.New("it is a list in JSON, but not of members, as `pipelines archive ls --json` prints it")
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
