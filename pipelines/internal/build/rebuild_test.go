package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// packing is a test double of a Builder that packs files, by name.
type packing struct {
	t     *testing.T
	files map[string]string
	level int
}

func (packing) Check(context.Context, []Step, int) error { return nil }

func (p packing) Build(ctx context.Context, _ recipe.Plan, _ map[string]string) (Built, error) {
	dir := p.t.TempDir()
	for name, content := range p.files {
		path := filepath.Join(dir, "opt", "kata", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return Built{}, err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return Built{}, err
		}
	}
	tarball := filepath.Join(p.t.TempDir(), "tarball")
	_, err := archive.Pack(ctx, dir, tarball, archive.Options{Level: p.level, ModTime: time.Unix(0, 0)})
	work, opening := os.Open(filepath.Dir(tarball))
	return Built{Tarballs: map[string]string{"": tarball}, Record: []byte("{}"), Work: work}, errors.Join(err, opening)
}

func TestRebuild(t *testing.T) {
	files := map[string]string{"same": "a", "content": "a", "size": "a", "gone": "a"}
	for _, test := range []struct {
		name  string
		files map[string]string
		level int
		want  []string
	}{
		{"the same", files, 1, nil},
		{"other members", map[string]string{"same": "a", "content": "b", "size": "bb", "new": "b"}, 1, []string{
			"changed  ./opt/kata/content: files of 1 bytes with sha256 ca978112ca1b… and 3e23e8160039…",
			"removed  ./opt/kata/gone (1 bytes)",
			"added    ./opt/kata/new (1 bytes)",
			"changed  ./opt/kata/size: files of 1 and 2 bytes",
		}},
		{"another compression", files, 4, []string{"every member is the same: the compression differs"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := setUp(t, t.TempDir(), assets)
			h.Builder = packing{t, files, 1}
			h.Rebuild = packing{t, test.files, test.level}
			results, err := h.Build(t.Context(), []string{"walls"}, catalog.X86_64)
			if test.want == nil {
				if err != nil || !results[0].Reproduced {
					t.Errorf("results %+v, %v", results, err)
				}
				return
			}
			kept := filepath.Join(h.Output, "rebuild", TarballName("walls"))
			want := `building "walls" again: ` + TarballName("walls") + " is not reproducible; the second build is " + kept + "\n  " + strings.Join(test.want, "\n  ")
			if err == nil || err.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			if _, err := os.Stat(kept); err != nil {
				t.Error(err)
			}
			if len(results) != 1 || results[0].Reproduced {
				t.Errorf("results %+v", results)
			}
		})
	}
}
