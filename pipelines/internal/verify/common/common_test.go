package common_test

import (
	"debug/elf"
	"strings"
	"testing"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/common"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/verifytest"
)

const program = "opt/kata/bin/program"

// proof is that of an asset that differs from others in its checks only.
func proof(checks catalog.Checks) common.Proof {
	asset := catalog.Asset{Name: "tiny", Budget: 1 << 20, Checks: checks, Pos: "assets/tiny/assets.yaml:12"}
	return common.Proof{Asset: asset, Arch: catalog.X86_64, Values: map[string]string{"VERSION": "v1.2.3"}}
}

// except is an exception with the reason "why".
func except(check string, files ...string) catalog.Checks {
	return catalog.Checks{Except: []catalog.Exception{{Checks: []string{check}, Files: files, Reason: "why"}}}
}

// tidy is a program that passes all checks of ELF files.
var tidy = verifytest.ELF{}.String()

// TestObjects shows each check of ELF files with a file that passes and with files that
// do not.
func TestObjects(t *testing.T) {
	declared := catalog.Checks{Libraries: map[string][]string{program: {"libc.so.6", "libm.so.6"}}}
	dynamic := verifytest.ELF{Interpreter: "/lib/ld.so", Libraries: []string{"libm.so.6", "libc.so.6"}}
	lazy := dynamic
	lazy.Lazy = true
	object := verifytest.ELF{Type: elf.ET_REL, Without: []elf.ProgType{elf.PT_GNU_STACK, elf.PT_GNU_RELRO}, Sections: []string{".symtab"}}
	for title, test := range map[string]struct {
		content string
		check   string
		checks  catalog.Checks
		want    string
	}{
		"architecture":             {tidy, "architecture", catalog.Checks{}, "passed ELF files: 1"},
		"another machine":          {verifytest.ELF{Machine: elf.EM_AARCH64}.String(), "architecture", catalog.Checks{}, "failed opt/kata/bin/program is for aarch64: want x86_64"},
		"32 bits":                  {strings.Replace(tidy, "\x7fELF\x02", "\x7fELF\x01", 1), "architecture", catalog.Checks{}, "failed "},
		"interpreter past the end": {strings.Replace(verifytest.ELF{Interpreter: "/lib/ld.so"}.String(), "/lib/ld.so", strings.Repeat("\x00", 10), 1), "architecture", catalog.Checks{}, "failed opt/kata/bin/program is a broken ELF file: its interpreter has no name"},
		"cut short":                {elf.ELFMAG, "architecture", catalog.Checks{}, "failed opt/kata/bin/program is a broken ELF file: "},
		"a core":                   {verifytest.ELF{Type: elf.ET_CORE}.String(), "architecture", catalog.Checks{}, "failed opt/kata/bin/program is a broken ELF file: it has the type ET_CORE"},
		"hidden libraries":         {verifytest.ELF{NoSections: true}.String(), "architecture", catalog.Checks{}, "failed opt/kata/bin/program is a broken ELF file: it has a dynamic segment, but no section headers"},
		"no ELF file":              {"data", "architecture", catalog.Checks{}, "skipped there are no ELF files"},
		"static":                   {tidy, "libraries", catalog.Checks{}, "passed ELF files: 1"},
		"interpreter":              {verifytest.ELF{Interpreter: "/lib/ld.so"}.String(), "libraries", catalog.Checks{}, "failed opt/kata/bin/program is not static: its interpreter is /lib/ld.so"},
		"libraries":                {dynamic.String(), "libraries", catalog.Checks{}, "failed opt/kata/bin/program is not static: it needs libm.so.6, libc.so.6"},
		"declared libraries":       {dynamic.String(), "libraries", declared, "passed ELF files: 1\nopt/kata/bin/program: libc.so.6, libm.so.6"},
		"more libraries":           {verifytest.ELF{Libraries: []string{"libc.so.6", "libm.so.6", "libz.so.1"}}.String(), "libraries", declared, "failed opt/kata/bin/program needs libraries that are not declared: libz.so.1"},
		"fewer libraries":          {verifytest.ELF{Libraries: []string{"libc.so.6"}}.String(), "libraries", declared, "failed opt/kata/bin/program does not need libm.so.6"},
		"declared, but not ELF":    {"data", "libraries", declared, "failed opt/kata/bin/program is not an ELF file of the tarball"},
		"position independent":     {tidy, "pie", catalog.Checks{}, "passed ELF files: 1"},
		"fixed address":            {verifytest.ELF{Type: elf.ET_EXEC}.String(), "pie", catalog.Checks{}, "failed opt/kata/bin/program runs at a fixed address only"},
		"fixed, but excepted":      {verifytest.ELF{Type: elf.ET_EXEC}.String(), "pie", except("pie", "opt/kata/b*"), "skipped there are no ELF files\nexcept opt/kata/bin/program: why"},
		"fixed, another exempt":    {verifytest.ELF{Type: elf.ET_EXEC}.String(), "pie", except("pie", "opt/kata/bin/prog"), "failed "},
		"excepted, but not there":  {tidy, "pie", except("pie", "opt/kata/lib*"), "failed assets/tiny/assets.yaml:12: the exception for opt/kata/lib* matches no file of the tarball"},
		"fixed, another check":     {verifytest.ELF{Type: elf.ET_EXEC}.String(), "pie", except("nx", program), "failed "},
		"off":                      {verifytest.ELF{Type: elf.ET_EXEC}.String(), "pie", except("pie"), "skipped why"},
		"relro":                    {dynamic.String(), "relro", catalog.Checks{}, "passed ELF files: 1"},
		"no relro":                 {verifytest.ELF{Without: []elf.ProgType{elf.PT_GNU_RELRO}}.String(), "relro", catalog.Checks{}, "failed opt/kata/bin/program has no RELRO segment"},
		"partial relro":            {lazy.String(), "relro", catalog.Checks{}, "failed opt/kata/bin/program looks functions up while it runs"},
		"partial relro, static":    {verifytest.ELF{Lazy: true}.String(), "relro", catalog.Checks{}, "passed ELF files: 1"},
		"nx":                       {tidy, "nx", catalog.Checks{}, "passed ELF files: 1"},
		"executable stack":         {verifytest.ELF{Stack: elf.PF_X}.String(), "nx", catalog.Checks{}, "failed opt/kata/bin/program has, or may have, an executable stack"},
		"no stack":                 {verifytest.ELF{Without: []elf.ProgType{elf.PT_GNU_STACK}}.String(), "nx", catalog.Checks{}, "failed opt/kata/bin/program has, or may have, an executable stack"},
		"writable and executed":    {verifytest.ELF{Load: elf.PF_W | elf.PF_X}.String(), "nx", catalog.Checks{}, "failed opt/kata/bin/program has a segment that is writable and executable"},
		"stripped":                 {tidy, "stripped", catalog.Checks{}, "passed ELF files: 1"},
		"symbols":                  {verifytest.ELF{Sections: []string{".symtab"}}.String(), "stripped", catalog.Checks{}, "failed opt/kata/bin/program has a symbol table"},
		"no debug sections":        {tidy, "debug-sections", catalog.Checks{}, "passed ELF files: 1"},
		"debug sections":           {verifytest.ELF{Sections: []string{".debug_info", ".zdebug_line"}}.String(), "debug-sections", catalog.Checks{}, "failed opt/kata/bin/program has 2 sections for debuggers, .debug_info first"},
		"module":                   {object.String(), "architecture", catalog.Checks{}, "passed ELF files: 1"},
		"module, position":         {object.String(), "pie", catalog.Checks{}, "skipped there are no ELF files"},
		"module, symbols":          {object.String(), "stripped", catalog.Checks{}, "skipped there are no ELF files"},
		"module, debug":            {verifytest.ELF{Type: elf.ET_REL, Sections: []string{".debug_info"}}.String(), "debug-sections", catalog.Checks{}, "failed "},
		"library":                  {verifytest.ELF{Name: "libx.so.1", Libraries: []string{"libc.so.6"}}.String(), "libraries", catalog.Checks{}, "failed "},
	} {
		t.Run(title, func(t *testing.T) {
			files := verifytest.Tree{program: test.content}
			r := verifytest.Run(t, proof(test.checks), verify.Artifact{Tarball: files.Pack(t, program)}, verifytest.NoBoot)
			check := verifytest.Find(t, r, test.check)
			if got := string(check.Verdict) + " " + check.Saw; !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
