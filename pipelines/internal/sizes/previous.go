package sizes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/files"
)

// MaxReport is the most that the JSON of a report may have, in bytes.
const MaxReport = 64 << 20

// Read reads the JSON of a report, or makes a report of a merged tarball, to compare
// with. A tarball does not name its components: all members are in one without a name. A
// tarball without an index is decompressed, and the shares of its members are estimates.
func Read(path string) (Report, error) {
	r, err := read(path)
	if err != nil {
		return Report{}, fmt.Errorf("reading the previous release %s: %w", path, err)
	}
	r.Version = cmp.Or(r.Version, strings.TrimSuffix(filepath.Base(path), ".tar.zst"))
	return r, nil
}

func read(path string) (Report, error) {
	file, err := files.OpenNamed(path)
	if err != nil {
		return Report{}, err
	}
	defer file.Close()
	head := make([]byte, 64)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Report{}, err
	}
	if bytes.HasPrefix(bytes.TrimLeft(head[:n], " \t\r\n"), []byte("{")) {
		return Parse(io.LimitReader(file, MaxReport))
	}
	tarball, err := archive.Inspect(path)
	if err != nil {
		return Report{}, fmt.Errorf("it is neither a tarball nor a report of `pipelines report`: %w", err)
	}
	return reportOf(tarball), nil
}

// Parse reads the JSON of a report, which may come from anywhere.
func Parse(from io.Reader) (Report, error) {
	var r Report
	if err := json.NewDecoder(from).Decode(&r); err != nil {
		return Report{}, fmt.Errorf("it begins as JSON but is not a report: %w", err)
	}
	if r.Format != reportFormat {
		return Report{}, fmt.Errorf("it is not a report of format %d, as `pipelines report` writes it, but of format %d", reportFormat, r.Format)
	}
	return r, r.check()
}

func reportOf(tarball archive.Listing) Report {
	r := Report{Size: tarball.Size, estimated: tarball.Frames == 0}
	for _, m := range tarball.Members {
		r.Unpacked += m.Size
	}
	var members []archive.Sized
	for _, m := range tarball.Members {
		if r.estimated {
			m.Packed = int64(float64(m.Size) / float64(max(r.Unpacked, 1)) * float64(r.Size))
		}
		if m.Name != "./opt/kata/VERSION" && m.Name != "./opt/kata/versions.yaml" { // The merge adds these.
			members = append(members, m)
		}
	}
	r.Components = []Component{{Members: membersOf(members)}}
	return r
}

// maxSize is larger than any size in a report, and so small that sums do not overflow.
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
