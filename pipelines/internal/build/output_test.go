package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/progress"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/recipe"
)

// written returns what a log has after text was written to it in pieces.
func written(t *testing.T, secrets map[string]string, text string, piece int) string {
	t.Helper()
	log, err := createLog(t.TempDir(), plan())
	if err != nil {
		t.Fatal(err)
	}
	o := newOutput(log, secrets)
	for piece := range slices.Chunk([]byte(text), piece) {
		if n, err := o.Write(piece); n != len(piece) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if err := o.failure("walls", errors.New("why")); err.Error() != "why" {
		t.Fatalf("failure %v", err)
	}
	data, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	got := strings.TrimPrefix(string(data), "walls x86_64, key abc\n")
	return strings.TrimSuffix(got, "failed: why\n")
}

func TestSecretsAreHidden(t *testing.T) {
	pem := "-----BEGIN KEY-----\nMIIEvQIBADAN\nBgkqhkiG\n-----END KEY-----\n"
	for name, test := range map[string]struct {
		secrets    map[string]string
		text, want string
	}{
		"none":            {nil, "as it is\n", "as it is\n"},
		"one":             {map[string]string{"PIN": "geheim"}, "PIN=geheim\nand geheimer\n", "PIN=***\nand ***er\n"},
		"almost":          {map[string]string{"PIN": "geheim"}, "gehei m, gegeheim\n", "gehei m, ge***\n"},
		"a beginning":     {map[string]string{"PIN": "geheim"}, "at the end: gehe", "at the end: gehe\n"},
		"two overlapping": {map[string]string{"A": "abc", "B": "abcdef"}, "abcdef abcd abc\n", "*** ***d ***\n"},
		"repeating":       {map[string]string{"A": "aab"}, "aaab aaaab\n", "a*** aa***\n"},
		"spaces around":   {map[string]string{"A": " geheim\n"}, "geheim\n", "***\n"},
		"whole PEM":       {map[string]string{"KEY": pem}, pem, "***\n"},
		"a line of a PEM": {map[string]string{"KEY": pem}, "+ echo MIIEvQIBADAN\n", "+ echo ***\n"},
		"a short secret":  {map[string]string{"A": "7"}, "17 of 70\n", "1*** of ***0\n"},
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

func TestSecretsInNotesAndErrors(t *testing.T) {
	var shown strings.Builder
	report := progress.New(&shown, progress.Plain, nil)
	log, err := createLog(t.TempDir(), plan())
	if err != nil {
		t.Fatal(err)
	}
	b := &run{Container: &Container{Report: report}, plan: plan(), out: newOutput(log, map[string]string{"PIN": "geheim"})}
	end := b.stage("sign with geheim")
	b.note("the PIN is geheim")
	end(nil, "signed by geheim")
	cause := errors.New("geheim was refused")
	err = b.out.failure("walls", cause)
	report.Close()
	var failure *Failure
	if !errors.As(err, &failure) || !errors.Is(err, cause) || err.Error() != "*** was refused" {
		t.Errorf("error %v", err)
	}
	data, readErr := os.ReadFile(failure.Log)
	if readErr != nil {
		t.Fatal(readErr)
	}
	for what, text := range map[string]string{"log": string(data), "tail": strings.Join(failure.Tail, "\n")} {
		if strings.Contains(text, "geheim") || !strings.Contains(text, "the PIN is ***") {
			t.Errorf("the %s is %q", what, text)
		}
	}
	if strings.Contains(shown.String(), "the PIN is geheim") || strings.Contains(shown.String(), "signed by geheim") {
		t.Errorf("shown %q", shown.String())
	}
}

func TestUnsetSecret(t *testing.T) {
	c, _ := container(t, errors.New("not to be asked"))
	c.Ready = func(context.Context) error { t.Error("the engine was looked for"); return nil }
	p := plan()
	p.Recipe.Secrets = []recipe.Secret{{Name: "KBUILD_SIGN_PIN"}, {Name: "OTHER_PIN"}}
	for _, value := range []string{"", "\n"} {
		c.Secret = func(name string) (string, bool) { return value, name == "OTHER_PIN" }
		_, err := c.Build(t.Context(), p, nil)
		if err == nil || !strings.Contains(err.Error(), "set KBUILD_SIGN_PIN, OTHER_PIN") {
			t.Errorf("error %v", err)
		}
	}
	c.Secret = nil
	if _, err := c.Build(t.Context(), p, nil); err == nil {
		t.Error("no error without an environment")
	}
	wantEmpty(t, c.Work)
}

func TestCheckOutputs(t *testing.T) {
	for name, test := range map[string]struct {
		made     []string
		file     string
		declared []string
		want     string
	}{
		"none":       {},
		"both":       {made: []string{"modules", "debug"}, declared: []string{"debug", "modules"}},
		"missing":    {made: []string{"modules"}, declared: []string{"debug", "modules"}, want: `"debug" is declared, but no step made $OUTPUTS/debug`},
		"undeclared": {made: []string{"modules", "more"}, declared: []string{"modules"}, want: "made $OUTPUTS/more, but outputs has modules"},
		"none of it": {made: []string{"more"}, want: "outputs has nothing"},
		"a file":     {file: "modules", declared: []string{"modules"}, want: "$OUTPUTS/modules is no folder"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, made := range test.made {
				if err := os.Mkdir(filepath.Join(dir, made), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if test.file != "" {
				if err := os.WriteFile(filepath.Join(dir, test.file), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := checkOutputs(dir, test.declared)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	if err := checkOutputs(filepath.Join(t.TempDir(), "none"), nil); err != nil {
		t.Errorf("no folder: %v", err)
	}
}

func TestPackOutputs(t *testing.T) {
	c, _ := container(t, nil)
	log, err := createLog(c.Logs, plan())
	if err != nil {
		t.Fatal(err)
	}
	p := plan()
	p.Recipe.Output = recipe.Output{Level: 1, Outputs: []string{"empty", "modules"}}
	b := &run{Container: c, plan: p, work: t.TempDir(), out: newOutput(log, nil)}
	out, outputs := filepath.Join(b.work, "out"), filepath.Join(b.work, "outputs")
	for _, path := range []string{filepath.Join(out, "opt/kata/main"), filepath.Join(outputs, "modules/lib/m.ko"), filepath.Join(outputs, "empty/opt/none")} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if filepath.Base(path) != "none" {
			if err := os.WriteFile(path, []byte(path), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := b.pack(t.Context(), out, outputs, record{}); err == nil || !strings.HasPrefix(err.Error(), `packing the output "empty": `) {
		t.Errorf("an output without content: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(outputs, "empty")); err != nil {
		t.Fatal(err)
	}
	b.plan.Recipe.Output.Outputs = []string{"modules"}
	built, err := b.pack(t.Context(), out, outputs, record{})
	if err != nil {
		t.Fatal(err)
	}
	for tarball, want := range map[string]string{built.Tarball: "./opt/kata/main", built.Outputs["modules"]: "./lib/m.ko"} {
		members, err := list(tarball)
		if err != nil || members[len(members)-1].Name != want {
			t.Errorf("%s: %v, %v, want %s", tarball, members, err, want)
		}
	}
	if name := filepath.Base(built.Outputs["modules"]); name != "kata-static-walls-modules.tar.zst" {
		t.Errorf("file name %s", name)
	}
}
