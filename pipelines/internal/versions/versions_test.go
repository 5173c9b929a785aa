package versions

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares got with a file of testdata.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func load(t *testing.T, file string) (*File, []Warning) {
	t.Helper()
	f, warnings, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return f, warnings
}

// TestBad has one file for each rule.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	position := regexp.MustCompile(`^testdata/bad/[a-z0-9-]+\.yaml:\d+:\d+: .+`)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, warnings, err := Load(file)
			if err == nil || f != nil || warnings != nil {
				t.Fatalf("Load = %v, %v, %v, want only an error", f, warnings, err)
			}
			for line := range strings.Lines(err.Error()) {
				if !position.MatchString(line) || !strings.ContainsAny(line, ";") {
					t.Errorf("no position or no advice: %s", line)
				}
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

func TestUnfitFiles(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, bytes.Repeat([]byte("# text\n"), maxSize/7+1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ file, want string }{
		{large, ": not readable: " + large + " is larger than 1.0 MiB; give"},
		{dir, ": not readable: " + dir + " is a folder, not a regular file; give"},
		{filepath.Join(dir, "none.yaml"), ": not readable: no such file or directory; give"},
	} {
		if _, _, err := Load(test.file); err == nil || !strings.HasPrefix(err.Error(), test.file+test.want) {
			t.Errorf("Load: %v, want %s%s", err, test.file, test.want)
		}
	}
}

// FuzzDecode looks for input that is neither a file nor an error with a place.
func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	position := regexp.MustCompile(`^f:[1-9]\d*:[1-9]\d*: .+`)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, _, err := Parse("f", data)
		if (file == nil) == (err == nil) {
			t.Errorf("decode = %v, %v", file, err)
		}
		if err != nil && !position.MatchString(err.Error()) {
			t.Errorf("no position: %v", err)
		}
	})
}

// TestKata reads a file of the shape of Kata's own.
func TestKata(t *testing.T) {
	f, warnings := load(t, "testdata/kata.yaml")
	var text strings.Builder
	for _, warning := range warnings {
		text.WriteString(warning.String() + "\n")
	}
	text.WriteString("\n")
	for _, path := range f.Pins() {
		value, err := f.Pin(path)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(path + " = " + value + "\n")
	}
	golden(t, "testdata/kata.golden", text.String())
	if sources := f.Sources(); len(sources) != 0 {
		t.Errorf("sources: %v, want none", sources)
	}
}

func TestSources(t *testing.T) {
	f, warnings := load(t, "testdata/sources.yaml")
	if len(warnings) != 0 {
		t.Errorf("warnings: %v, want none", warnings)
	}
	got, err := f.Source("assets.kernel.linux")
	if err != nil {
		t.Fatal(err)
	}
	want := Source{Name: "linux", Places: []Place{{
		Name:   "upstream",
		URL:    "https://example.org/linux-6.18.15.tar.xz",
		SHA256: "7c716216c3c4134ed0de69195701e677577bbcdd3979f331c182acd06bf2f170",
		Line:   7,
	}, {
		Name:   "debian",
		Debian: &Debian{"linux", "6.18.15-1~bpo13+1", "trixie-backports", "linux_6.18.15.orig.tar.xz"},
		SHA256: "fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca",
		Size:   157422084,
		Line:   10,
	}, {
		Name: "go",
		Go:   &GoModule{"example.org/linux", "v6.18.15", "h1:z9yCiTPMxVBIZlHxOPinZXhly2MdcIqxk9VXPlHIOJY="},
		Line: 18,
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var hashes []string
	for _, place := range got.Places {
		hashes = append(hashes, place.Hash())
	}
	wantHashes := []string{"sha256:" + want.Places[0].SHA256, "sha256:" + want.Places[1].SHA256, want.Places[2].Go.Sum}
	if !slices.Equal(hashes, wantHashes) {
		t.Errorf("hashes: %v, want %v", hashes, wantHashes)
	}
}

// TestHashes checks the names that caches use for places.
func TestHashes(t *testing.T) {
	f, _ := load(t, "testdata/sources.yaml")
	got, err := f.Source("assets.kernel.patched.patches")
	if err != nil {
		t.Fatal(err)
	}
	const commit, hash = "0123456789012345678901234567890123456789", "sha256:7c716216c3c4134ed0de69195701e677577bbcdd3979f331c182acd06bf2f170"
	var lines []string
	for _, place := range got.Places {
		lines = append(lines, fmt.Sprint(place.Hash(), " ", place.Cacheable(), " ", place.Holds()))
	}
	want := []string{
		"git:" + commit + " false git:https://example.org/repo@" + commit,
		"git:" + commit + ":a/b false git:https://example.org/repo@" + commit + ":a/b",
		hash + " true git:https://example.org/repo@" + commit,
		hash + " true goproxy:example.org/linux@v6.18.15",
		"git:v1 false git:https://example.org/repo@v1",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUnknownPaths(t *testing.T) {
	f, _ := load(t, "testdata/sources.yaml")
	_, pin := f.Pin("assets.kernal.version")
	_, farPin := f.Pin("x")
	_, source := f.Source("assets.kernel.lnux")
	_, farSource := f.Source("x")
	for _, test := range []struct {
		err  error
		want string
	}{
		{pin, `testdata/sources.yaml has no pin "assets.kernal.version"; did you mean "assets.kernel.version"?`},
		{farPin, `testdata/sources.yaml has no pin "x"; add it, or use the path of another`},
		{source, `testdata/sources.yaml has no source "assets.kernel.lnux"; did you mean "assets.kernel.linux"?`},
		{farSource, `testdata/sources.yaml has no source "x"; add it below sources: of the entry`},
	} {
		if test.err == nil || test.err.Error() != test.want {
			t.Errorf("got %v, want %s", test.err, test.want)
		}
	}
}

// TestRepository reads the file that the pipelines use: every place must hold
// the version of its entry, or an update of the pins was half done.
func TestRepository(t *testing.T) {
	f, _ := load(t, "../../../versions.yaml")
	for _, path := range f.Sources() {
		entry := path[:strings.LastIndexByte(path, '.')]
		version, err := f.Pin(entry + ".version")
		if err != nil {
			continue // an entry of entries, each with a version of its own
		}
		source, err := f.Source(path)
		if err != nil {
			t.Fatal(err)
		}
		version = strings.ReplaceAll(strings.TrimPrefix(version, "v"), "_", ".")
		for _, place := range source.Places {
			held := place.URL
			switch {
			case place.Debian != nil:
				held = place.Debian.File
			case place.Go != nil:
				held = place.Go.Version
			case place.GoProxy != nil:
				held = place.GoProxy.Version
			case place.Git != nil:
				continue // A commit does not tell its version; the builds compare it.
			}
			if !strings.Contains(held, version) {
				t.Errorf("%s:%d: place %s of %s is %s, which is not version %s",
					f.Path, place.Line, place.Name, path, held, version)
			}
		}
	}
}
