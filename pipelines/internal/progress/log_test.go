package progress

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

const title = "walls x86_64, key abc"

// written returns the content of a log after text was written to it in pieces.
func written(t *testing.T, secrets []string, text string, piece int) string {
	t.Helper()
	log, err := CreateLog(filepath.Join(t.TempDir(), "walls.log"), title, secrets)
	require.NoError(t, err)
	output(t, log, text, piece)
	require.NoError(t, log.Close("failed: why"))
	data, err := os.ReadFile(log.Path())
	require.NoError(t, err)
	got := strings.TrimPrefix(string(data), title+"\n== build\n")
	return strings.TrimSuffix(got, "failed: why\n")
}

// output writes text in pieces to a stage that a log belongs to.
func output(t *testing.T, log *Log, text string, piece int) {
	t.Helper()
	var nobody *Reporter
	stage := nobody.Logged(log).Stage("walls", "build")
	for piece := range slices.Chunk([]byte(text), piece) {
		if n, err := stage.Write(piece); n != len(piece) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	stage.End(nil, "")
}

func TestSecretsAreHidden(t *testing.T) {
	pem := "-----BEGIN KEY-----\nMIIEvQIBADAN\nBgkqhkiG\n-----END KEY-----\n"
	for name, test := range map[string]struct {
		secrets    []string
		text, want string
	}{
		"none":            {nil, "as it is\n", "as it is\n"},
		"one":             {[]string{"geheim"}, "PIN=geheim\nand geheimer\n", "PIN=***\nand ***er\n"},
		"almost":          {[]string{"geheim"}, "gehei m, gegeheim\n", "gehei m, ge***\n"},
		"a beginning":     {[]string{"geheim"}, "at the end: gehe", "at the end: gehe\n"},
		"two overlapping": {[]string{"abc", "abcdef"}, "abcdef abcd abc\n", "*** ***d ***\n"},
		"repeating":       {[]string{"aab"}, "aaab aaaab\n", "a*** aa***\n"},
		"spaces around":   {[]string{" geheim\n"}, "geheim\n", "***\n"},
		"whole PEM":       {[]string{pem}, pem, strings.Repeat("***\n", 4)},
		"a line of a PEM": {[]string{pem}, "+ echo MIIEvQIBADAN\n", "+ echo ***\n"},
		"a short secret":  {[]string{"7"}, "17 of 70\n", "1*** of ***0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for piece := 1; piece <= len(test.text); piece++ {
				if got := written(t, test.secrets, test.text, piece); got != test.want {
					t.Fatalf("in pieces of %d: %q, want %q", piece, got, test.want)
				}
			}
		})
	}
}

func TestSecretsInNotesAndStages(t *testing.T) {
	var shown bytes.Buffer
	screen := New(&shown, Plain, nil)
	log, err := CreateLog(filepath.Join(t.TempDir(), "walls.log"), title, []string{"geheim"})
	require.NoError(t, err)
	report := screen.Logged(log)
	stage := report.Stage("walls", "sign with geheim")
	report.Note("walls", "the PIN is geheim")
	stage.Note("again geheim")
	fmt.Fprint(stage, "output with gehe")
	fmt.Fprint(stage, "im\n")
	stage.End(nil, "signed by geheim")
	tail := strings.Join(log.Tail(), "\n")
	require.NoError(t, log.Close("failed: geheim was refused"))
	screen.Close()
	data, err := os.ReadFile(log.Path())
	require.NoError(t, err)
	want := title + "\n== sign with ***\nthe PIN is ***\nagain ***\noutput with ***\n"
	if tail != strings.TrimSuffix(want, "\n") {
		t.Errorf("the tail is %q", tail)
	}
	if want += "failed: *** was refused\n"; string(data) != want {
		t.Errorf("the log is %q, want %q", data, want)
	}
	if text := shown.String(); strings.Contains(text, "geheim") || !strings.Contains(text, "the PIN is ***") || !strings.Contains(text, "signed by ***") {
		t.Errorf("shown is %q", text)
	}
}

// A reporter without a screen still writes a log.
func TestLogWithoutScreen(t *testing.T) {
	log, err := CreateLog(filepath.Join(t.TempDir(), "walls.log"), title, nil)
	require.NoError(t, err)
	var nobody *Reporter
	report := nobody.Logged(log)
	stage := report.Stage("walls", "build")
	stage.Bytes(1, 2)
	fmt.Fprintln(stage, "make")
	stage.End(errors.New("no"), "")
	report.Note("walls", "done")
	report.Close()
	if diff := cmp.Diff([]string{title, "== build", "make", "done"}, log.Tail()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLogTail(t *testing.T) {
	var lines []string
	for i := range 60 {
		lines = append(lines, fmt.Sprintf("line %d", i))
	}
	text := strings.Join(lines, "\n") + "\n"
	for _, test := range []struct {
		name, text string
		piece      int
		want       []string
	}{
		{"nothing", "", 1, []string{title, "== build"}},
		{"few", "one\ntwo\n", 100, []string{title, "== build", "one", "two"}},
		{"an empty line", "one\n\n", 100, []string{title, "== build", "one", ""}},
		{"many", text, 1 << 20, lines[35:]},
		{"many in small pieces", text, 3, lines[35:]},
		{"a line without an end", text + "and", 7, append(slices.Clone(lines[36:]), "and")},
	} {
		t.Run(test.name, func(t *testing.T) {
			log, err := CreateLog(filepath.Join(t.TempDir(), "logs", "walls.log"), title, nil)
			require.NoError(t, err)
			output(t, log, test.text, test.piece)
			if diff := cmp.Diff(test.want, log.Tail()); diff != "" {
				t.Errorf("tail (-want +got)\n%s", diff)
			}
			require.NoError(t, log.Close("failed: why"))
			data, err := os.ReadFile(log.Path())
			want := strings.TrimSuffix(title+"\n== build\n"+test.text, "\n") + "\nfailed: why\n"
			if err != nil || string(data) != want {
				t.Errorf("the log is %q, %v; want %q", data, err, want)
			}
		})
	}
}

func TestLogIsReplacedAndEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "walls.log")
	require.WriteFile(t, path, strings.Repeat("old", 100))
	log, err := CreateLog(path, title, nil)
	require.NoError(t, err)
	require.NoError(t, log.Close("done"))
	if data, err := os.ReadFile(path); err != nil || string(data) != title+"\ndone\n" {
		t.Errorf("the log is %q, %v", data, err)
	}
	if err := log.Close("done"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a second end: %v, want %v", err, os.ErrClosed)
	}
}
