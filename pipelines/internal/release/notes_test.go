package release

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/payload"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/release/github"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/versions"
)

func pinsOf(t *testing.T, name string) *versions.File {
	t.Helper()
	file, err := versions.Load(filepath.Join("testdata", "notes", name), fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestComparePins(t *testing.T) {
	before, after := pinsOf(t, "before.yaml"), pinsOf(t, "after.yaml")
	want := []PinChange{
		{"assets.gone.url", "https://example.org/gone", ""},
		{"assets.gone.version", "v1", ""},
		{"assets.kernel.version", "v6.12.47", "v6.18.15"},
		{"assets.qemu.url", "", "https://example.org/qemu"},
		{"assets.qemu.version", "", "10.2.2"},
	}
	if diff := cmp.Diff(want, ComparePins(before, after)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if changes := ComparePins(after, after); len(changes) != 0 {
		t.Errorf("a file differs from itself: %v", changes)
	}
}

func notes(t *testing.T) Notes {
	digest := "sha256:" + strings.Repeat("0f", 32)
	image := func(goarch string) ReleasedImage {
		return ReleasedImage{GoArch: goarch, Pushed: payload.Pushed{Reference: "quay.io/kata-containers/kata-deploy@" + digest, Digest: digest}}
	}
	differs := []versions.Difference{{Pin: "assets.qemu.version", Value: "10.2.2", Kata: "10.2.1"}}
	return Notes{
		Released: Released{
			Version: "3.28.0", Commit: strings.Repeat("c", 40),
			Files: []File{
				{File: github.File{Name: "kata-static-3.28.0-amd64.tar.zst", Size: 1234567890, Digest: digest}},
				{File: github.File{Name: "SHA256SUMS", Size: 99, Digest: digest}},
			},
			Images: []ReleasedImage{image("amd64"), image("s390x"), image("")},
		},
		Previous: "3.27.0",
		Components: []Component{
			{Asset: "qemu", Arch: catalog.X86_64, Version: "10.2.2", Differs: differs, Size: 12345678, Digest: digest, Key: strings.Repeat("a", 64)},
			{Asset: "qemu", Arch: catalog.S390X, Version: "10.2.2", Differs: differs, Size: 12345678, Digest: digest, Key: strings.Repeat("d", 64)},
			{Asset: "kernel", Arch: catalog.S390X, Version: "v6.18.15", Size: 5 << 20, Digest: digest, Key: strings.Repeat("b", 64)},
			{Asset: "kernel", Arch: catalog.X86_64, Version: "v6.18.15", Size: 6 << 20, Digest: digest, Key: strings.Repeat("c", 64)},
		},
		Pins: append(ComparePins(pinsOf(t, "before.yaml"), pinsOf(t, "after.yaml")), PinChange{"assets.odd", "a|b", "`c`\nd"}),
	}
}

var update = flag.Bool("update", false, "write the expected notes and plans")

func TestNotes(t *testing.T) {
	got := notes(t).Markdown()
	golden := filepath.Join("testdata", "notes", "notes.md.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestNotesOfLess(t *testing.T) {
	for name, test := range map[string]struct {
		notes Notes
		want  string
	}{
		"nothing":     {Notes{Released: Released{Version: "1.0.0"}}, "Kata Containers 1.0.0.\n"},
		"no change":   {Notes{Released: Released{Version: "1.0.0"}, Previous: "0.9.0"}, "Kata Containers 1.0.0.\n\n### Changes in versions.yaml since 0.9.0\n\nNone.\n"},
		"not to know": {Notes{Released: Released{Version: "1.0.0"}, Previous: "0.9.0", PinsUnknown: "no <file>"}, "Kata Containers 1.0.0.\n\n### Changes in versions.yaml since 0.9.0\n\nNot known: no &lt;file>.\n"},
	} {
		if got := test.notes.Markdown(); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestSpliceNotes(t *testing.T) {
	first := SpliceNotes("", "one")
	for name, test := range map[string]struct{ there, want string }{
		"nothing there":  {"", notesBegin + "\n\ntwo\n\n" + notesEnd + "\n"},
		"earlier":        {first, notesBegin + "\n\ntwo\n\n" + notesEnd + "\n"},
		"words of hand":  {"Hello.\n", "Hello.\n\n" + notesBegin + "\n\ntwo\n\n" + notesEnd + "\n"},
		"around":         {"Hello.\n\n" + first + "\nBye.\n", "Hello.\n\n" + notesBegin + "\n\ntwo\n\n" + notesEnd + "\n\nBye.\n"},
		"edited on page": {strings.ReplaceAll("Hello.\n\n"+first, "\n", "\r\n"), "Hello.\n\n" + notesBegin + "\n\ntwo\n\n" + notesEnd + "\n"},
		"no end":         {notesBegin + "\nbroken", notesBegin + "\nbroken\n\n" + notesBegin + "\n\ntwo\n\n" + notesEnd + "\n"},
	} {
		got := SpliceNotes(test.there, "two\n")
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
		if again := SpliceNotes(got, "two"); name != "no end" && again != got {
			t.Errorf("%s: once more gives %q, want %q", name, again, got)
		}
	}
}

// TestSums has sha256sum read what Sums writes.
func TestSums(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"b.tar.zst": "two\n", "a.tar.zst": "one\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := Sums([]File{
		{File: github.File{Name: "b.tar.zst", Digest: "sha256:27dd8ed44a83ff94d557f9fd0412ed5a8cbca69ea04922d88c01184a07300a5a"}},
		{File: github.File{Name: "a.tar.zst", Digest: "sha256:2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"}},
	})
	if err := os.WriteFile(filepath.Join(dir, SumsName), got, 0o644); err != nil {
		t.Fatal(err)
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--strict", "--check", SumsName)
	check.Dir = dir
	output, err := check.CombinedOutput()
	if err != nil || string(output) != "a.tar.zst: OK\nb.tar.zst: OK\n" {
		t.Errorf("sha256sum says %v: %s", err, output)
	}
}
