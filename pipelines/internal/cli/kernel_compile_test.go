package cli

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The header with all options, as a dependency file names it.
const autoconf = "include/generated/autoconf.h"

// buildCompile builds assets/kernel/compile.c and returns its path.
func buildCompile(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip(err)
	}
	program := filepath.Join(t.TempDir(), "compile")
	out, err := exec.CommandContext(t.Context(), "gcc", "-Wall", "-Wextra", "-Werror", "-o", program, "../../../assets/kernel/compile.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// layOptions adds the options A and B to a tree, and a compiler that says that x.c
// includes x.h and the header with all options.
func layOptions(t *testing.T, work string, tree map[string]string) {
	t.Helper()
	lay(t, work, tree)
	lay(t, work, map[string]string{
		autoconf: "#define CONFIG_A 1\n", "options/A.so": "#define CONFIG_A 1\n", "options/B.so": "", "options/.memo": "",
		"compiler": "#!/bin/sh\nprintf 'x.o: x.c " + autoconf + " \\\\\\n x.h\\n' >x.d\n",
	})
	written := time.Now().Add(-time.Hour)
	if _, newer := tree["newer"]; newer {
		written = time.Now().Add(time.Hour)
	}
	if err := os.Chtimes(filepath.Join(work, autoconf), written, written); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(work, "compiler"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// dependencies runs the program and returns the dependencies other than x.c and x.h.
func dependencies(t *testing.T, program, work string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"./compiler", "-Wp,-MMD,x.d", "-Wa,-Iinc"}, args...)...)
	cmd.Dir, cmd.Env = work, append(os.Environ(), "KATA_OPTIONS=options")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(work, "x.d"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(strings.ReplaceAll(string(data), "\\", "")), " ")
	rest, found := strings.CutPrefix(text, "x.o: x.c x.h")
	if !found {
		t.Fatalf("the dependencies begin otherwise: %s", text)
	}
	return strings.TrimSpace(rest)
}

func TestKernelCompile(t *testing.T) {
	program := buildCompile(t)
	for name, tt := range map[string]struct {
		tree map[string]string
		args []string
		want string
	}{
		"no option":                     {},
		"an option in the source":       {tree: map[string]string{"x.c": "#ifdef CONFIG_A\n"}, want: "options/A.so"},
		"an option in a header":         {tree: map[string]string{"x.h": "IS_ENABLED(CONFIG_B)\n"}, want: "options/B.so"},
		"in both":                       {tree: map[string]string{"x.c": "CONFIG_B CONFIG_A", "x.h": "CONFIG_B"}, want: "options/B.so options/A.so"},
		"an option as a module":         {tree: map[string]string{"x.c": "CONFIG_B_MODULE"}, want: "options/B.so"},
		"an option in an argument":      {args: []string{"-DX=CONFIG_A"}, want: "options/A.so"},
		"no option of this Linux":       {tree: map[string]string{"x.c": "CONFIG_C"}},
		"a name in pieces":              {tree: map[string]string{"x.h": "CONFIG_##x CONFIG_A"}, want: autoconf},
		"options older than the header": {tree: map[string]string{"newer": "", "x.c": "CONFIG_A"}, want: autoconf},
		"a file for the assembler":      {tree: map[string]string{"x.c": `asm(".include \"y.h\"");`, "inc/y.h": "CONFIG_A"}, want: "options/A.so inc/y.h"},
		"no such file":                  {tree: map[string]string{"x.c": `.include "z.h"`}, want: "options/.uncached"},
		"a file in the object":          {tree: map[string]string{"x.h": `.incbin "y"`}, want: "options/.uncached"},
		"a file that includes itself":   {tree: map[string]string{"x.c": `.include "y.h"`, "inc/y.h": `.include "y.h"`}, want: "inc/y.h inc/y.h"},
		"no directive":                  {tree: map[string]string{"x.c": "ops.include_all ops.incoming"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree := map[string]string{"x.c": "", "x.h": ""}
			maps.Copy(tree, tt.tree)
			work := t.TempDir()
			layOptions(t, work, tree)
			for _, run := range []string{"first", "second, with the memo of the first"} {
				if got := dependencies(t, program, work, tt.args...); got != tt.want {
					t.Errorf("%s run: got %q, want %q", run, got, tt.want)
				}
			}
		})
	}
}
