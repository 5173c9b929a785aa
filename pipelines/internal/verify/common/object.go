package common

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
	"github.com/kata-containers/kata-pipelines/pipelines/internal/verify/tarball"
)

type object struct {
	name, arch string
	kind       kind
	// fixed says that it runs only at the address it was linked for.
	fixed bool
	// interpreter is the program that loads its libraries, "" for none.
	interpreter string
	libraries   []string
	// bound says that the addresses of functions are looked up before it starts, and
	// relro that they are read-only from then on.
	bound, relro bool
	// stack says that it asks for a stack that is not executable, and mixed that a
	// segment is writable and executable.
	stack, mixed bool
	// symbols says that it has a symbol table, and debug are the names of its sections
	// for debuggers.
	symbols bool
	debug   []string
}

// kind says how an ELF file is used.
type kind int

const (
	program     kind = iota
	library          // that programs load
	relocatable      // to be linked, or to be loaded by a kernel
)

// readObject reads the headers of an ELF file, which may say anything.
func readObject(name string, content io.ReaderAt) (object, error) {
	o := object{name: name}
	file, err := elf.NewFile(content)
	if err != nil {
		return o, err
	}
	o.arch, o.fixed = tarball.Arch(file), file.Type != elf.ET_DYN
	if err := errors.Join(o.segments(file), o.dynamic(file)); err != nil {
		return o, err
	}
	switch {
	case file.Type == elf.ET_REL:
		o.kind = relocatable
	case file.Type != elf.ET_DYN && file.Type != elf.ET_EXEC:
		return o, fmt.Errorf("it has the type %s", file.Type)
	}
	for _, s := range file.Sections {
		o.symbols = o.symbols || s.Type == elf.SHT_SYMTAB
		if strings.HasPrefix(s.Name, ".debug_") || strings.HasPrefix(s.Name, ".zdebug_") {
			o.debug = append(o.debug, s.Name)
		}
	}
	return o, nil
}

// segments reads what a loader is told.
func (o *object) segments(file *elf.File) error {
	for _, p := range file.Progs {
		switch p.Type {
		case elf.PT_INTERP:
			const longest = 4096
			text, err := io.ReadAll(io.LimitReader(p.Open(), longest))
			if err != nil {
				return fmt.Errorf("its interpreter: %w", err)
			}
			if o.interpreter = string(bytes.TrimRight(text, "\x00")); o.interpreter == "" {
				return errors.New("its interpreter has no name")
			}
		case elf.PT_GNU_STACK:
			o.stack = p.Flags&elf.PF_X == 0
		case elf.PT_GNU_RELRO:
			o.relro = true
		case elf.PT_LOAD:
			o.mixed = o.mixed || p.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X
		}
	}
	return nil
}

// dynamic reads the dynamic section, if there is one.
func (o *object) dynamic(file *elf.File) error {
	if segment := slices.IndexFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_DYNAMIC }); segment >= 0 && file.SectionByType(elf.SHT_DYNAMIC) == nil {
		return errors.New("it has a dynamic segment, but no section headers to find its libraries by")
	}
	var errs [5]error
	var flags, flags1, bindNow []uint64
	var name []string
	o.libraries, errs[0] = file.ImportedLibraries()
	name, errs[1] = file.DynString(elf.DT_SONAME)
	flags, errs[2] = file.DynValue(elf.DT_FLAGS)
	flags1, errs[3] = file.DynValue(elf.DT_FLAGS_1)
	bindNow, errs[4] = file.DynValue(elf.DT_BIND_NOW)
	if err := cmp.Or(errs[:]...); err != nil {
		return fmt.Errorf("its dynamic section: %w", err)
	}
	has := func(values []uint64, flag uint64) bool { return len(values) > 0 && values[0]&flag != 0 }
	o.bound = len(bindNow) > 0 || has(flags, uint64(elf.DF_BIND_NOW)) || has(flags1, uint64(elf.DF_1_NOW))
	if o.interpreter == "" && !has(flags1, uint64(elf.DF_1_PIE)) && (len(name) > 0 || file.Type == elf.ET_DYN && file.Entry == 0) {
		o.kind = library
	}
	return nil
}

// eachObject runs a check on all ELF files that it is for. The check of the architecture
// reports those that cannot be read.
func (s *subject) eachObject(check string) (saw string, err error) {
	f := findings{subject: s, check: check}
	if check == catalog.CheckArchitecture {
		f.problems = errors.Join(s.broken...)
	}
	for _, o := range s.objects {
		if o.kind != relocatable || check == catalog.CheckArchitecture || check == catalog.CheckDebug {
			f.add(o.name, s.problem(check, o))
		}
	}
	if check != catalog.CheckLibraries {
		return f.result("ELF files")
	}
	declared := s.Asset.Checks.Libraries
	for _, file := range slices.Sorted(maps.Keys(declared)) {
		f.saw = append(f.saw, file+": "+strings.Join(declared[file], ", "))
		if !slices.ContainsFunc(s.objects, func(o object) bool { return o.name == file }) {
			f.add(file, "is not an ELF file of the tarball")
		}
	}
	return f.result("ELF files")
}

// problem says why an ELF file does not pass a check, "" if it does.
func (s *subject) problem(check string, o object) string {
	switch check {
	case catalog.CheckArchitecture:
		if o.arch != string(s.Arch) {
			return fmt.Sprintf("is for %s: want %s", o.arch, s.Arch)
		}
	case catalog.CheckLibraries:
		return linked(o, s.Asset.Checks.Libraries[o.name])
	case catalog.CheckPIE:
		if o.fixed {
			return "runs at a fixed address only: link it with -pie or -static-pie"
		}
	case catalog.CheckRELRO:
		switch {
		case !o.relro:
			return "has no RELRO segment, which becomes read-only after loading: link it with -z relro"
		case len(o.libraries) > 0 && !o.bound:
			return "looks functions up while it runs, so that its RELRO segment lacks their addresses: link it with -z now"
		}
	case catalog.CheckNX:
		switch {
		case !o.stack:
			return "has, or may have, an executable stack: link it with -z noexecstack"
		case o.mixed:
			return "has a segment that is writable and executable"
		}
	case catalog.CheckStripped:
		if o.symbols {
			return "has a symbol table: strip it"
		}
	case catalog.CheckDebug:
		if len(o.debug) > 0 {
			return fmt.Sprintf("has %d sections for debuggers, %s first: strip it", len(o.debug), o.debug[0])
		}
	}
	return ""
}

// linked says how the libraries of an ELF file differ from the declared ones.
func linked(o object, declared []string) string {
	without := func(all, some []string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(all), func(l string) bool { return slices.Contains(some, l) }), ", ")
	}
	more, fewer := without(o.libraries, declared), without(declared, o.libraries)
	switch {
	case len(declared) == 0 && o.interpreter != "" && more == "":
		return "is not static: its interpreter is " + o.interpreter
	case len(declared) == 0 && more != "":
		return "is not static: it needs " + more
	case more != "":
		return "needs libraries that are not declared: " + more
	case fewer != "":
		return "does not need " + fewer
	}
	return ""
}
