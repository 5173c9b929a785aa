package common

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/catalog"
)

// eachObject runs a check on all ELF files that it is for. The check of the architecture
// reports those that cannot be read.
func (s *subject) eachObject(check string) (saw string, err error) {
	f := findings{asset: s.Asset, check: check}
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
