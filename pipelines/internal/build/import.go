package build

import (
	"cmp"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive/foreign"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/source"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

// importRecord is the record of an import.
type importRecord struct {
	Sources []sourceRecord        `json:"sources"`
	Differs []versions.Difference `json:"differs"`
	Members []memberRecord        `json:"members"`
}

type memberRecord struct {
	From   string `json:"from"`
	Name   string `json:"name"`
	SHA256 string `json:"sha256,omitempty"`
}

// importMembers takes the members of an imported asset out of its source, and packs them.
func (b *run) importMembers(ctx context.Context) (built Built, err error) {
	out := filepath.Join(b.work, "out")
	fetched, taken, err := b.takeMembers(ctx, out)
	if err != nil {
		return Built{}, err
	}
	rec := importRecord{Sources: []sourceRecord{{fetched.Name, fetched.Place, fetched.SHA256}}, Differs: b.plan.Differs}
	for _, m := range taken {
		rec.Members = append(rec.Members, memberRecord{m.From, m.Name, m.SHA256})
	}
	data, err := json.Marshal(rec)
	if err != nil {
		return Built{}, fmt.Errorf("encoding the record of the import: %w", err)
	}
	return b.pack(ctx, out, filepath.Join(b.work, "outputs"), data)
}

// takeMembers writes the members to a folder. A damaged file of the source cache is
// fetched again.
func (b *run) takeMembers(ctx context.Context, out string) (fetched source.Fetched, taken []foreign.Taken, err error) {
	declared := b.plan.Sources[0]
	for again := false; ; again = true {
		if err := errors.Join(os.RemoveAll(out), os.Mkdir(out, 0o755)); err != nil {
			return fetched, nil, fmt.Errorf("making the folder for the members: %w", err)
		}
		stage := b.stage("import")
		fetched, taken, err = b.take(ctx, declared, out, stage)
		stage.End(err, fmt.Sprintf("%s from the place %s (%s), %s; members: %d", cmp.Or(b.plan.Given.Path, declared.Name), fetched.Place, fetched.From, progress.Size(fetched.Size), len(taken)))
		if again || fetched.From != source.FromCache || !errors.As(err, new(*source.Mismatch)) {
			break
		}
		if _, err := b.Sources.Fetch(ctx, declared, stage); err != nil {
			return fetched, nil, fmt.Errorf("fetching source %q: %w", declared.Name, err)
		}
	}
	if err == nil {
		err = checkPrograms(out, taken, catalog.Arch(b.plan.Recipe.Arch))
	}
	if err != nil {
		return fetched, nil, fmt.Errorf("importing from %s: %w", cmp.Or(b.plan.Given.Path, fmt.Sprintf("source %q", declared.Name)), err)
	}
	return fetched, taken, nil
}

// take writes the members to a folder, once.
func (b *run) take(ctx context.Context, declared versions.Source, out string, stage *progress.Stage) (source.Fetched, []foreign.Taken, error) {
	members := Members(b.plan.Recipe, b.plan.Recipe.FromGiven())
	opened, err := b.open(ctx, declared, stage)
	if errors.Is(err, errFolder) {
		return b.takeFolder(ctx, declared, members, out)
	}
	if err != nil {
		return source.Fetched{}, nil, err
	}
	defer opened.Close()
	taken, err := foreign.Extract(ctx, opened, members, out)
	// What is wrong with the archive may be that it is another one.
	switch wrong := opened.Verify(ctx); {
	case wrong != nil && b.plan.Given.Path != "":
		return opened.Fetched, nil, errChanged
	case wrong != nil:
		return opened.Fetched, nil, wrong
	}
	return opened.Fetched, taken, err
}

var (
	errFolder  = errors.New("it is a folder")
	errChanged = errors.New("it has changed since the plan: run the command again")
)

// open opens the source, or the local file that replaces it.
func (b *run) open(ctx context.Context, declared versions.Source, stage *progress.Stage) (*source.Opened, error) {
	if b.plan.Given.Path == "" {
		return b.Sources.Open(ctx, declared, stage)
	}
	info, err := os.Stat(b.plan.Given.Path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errFolder
	}
	return source.OpenFile(source.Fetched{
		Name: declared.Name, Place: recipe.GivenPlace, From: source.FromFile, Path: b.plan.Given.Path, SHA256: b.plan.Given.SHA256, Size: info.Size(),
	})
}

// takeFolder takes the members out of a local folder. Its content decided the key, so it
// must not have changed since.
func (b *run) takeFolder(ctx context.Context, declared versions.Source, members []foreign.Member, out string) (source.Fetched, []foreign.Taken, error) {
	fetched := source.Fetched{Name: declared.Name, Place: recipe.GivenPlace, From: source.FromFile, SHA256: b.plan.Given.SHA256}
	taken, err := foreign.ExtractFolder(ctx, b.plan.Given.Path, members, out)
	if err == nil && foreign.Sum(taken) != b.plan.Given.SHA256 {
		err = errChanged
	}
	return fetched, taken, err
}

// Members returns the members of an imported recipe for package foreign. Those of an
// archive that is given in place of a declared one may have their final paths already.
func Members(r recipe.Recipe, given bool) []foreign.Member {
	var members []foreign.Member
	for _, m := range r.Import {
		mode, _ := strconv.ParseUint(m.Mode, 8, 32) // "" is 0.
		members = append(members, foreign.Member{From: m.From, To: m.To, Mode: fs.FileMode(mode), Installed: given})
	}
	return members
}

// checkPrograms refuses programs of another architecture.
func checkPrograms(dir string, taken []foreign.Taken, arch catalog.Arch) error {
	var problems []error
	for _, m := range taken {
		if !m.Mode.IsRegular() || m.Mode&0o111 == 0 {
			continue
		}
		file, err := elf.Open(filepath.Join(dir, m.Name))
		if errors.As(err, new(*elf.FormatError)) || errors.Is(err, io.EOF) {
			continue // It is a script.
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", m.Name, err)
		}
		if err := arch.CheckELF(file.FileHeader); err != nil {
			problems = append(problems, fmt.Errorf("%s, the archive's %s, %w: correct the source of the import, or its members", m.Name, m.From, err))
		}
		_ = file.Close() // It was only read.
	}
	return errors.Join(problems...)
}
