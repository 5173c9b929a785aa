package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// kernel returns the types of a kernel in which the fields are elsewhere than
// in the type that the program is written with.
func kernel(t *testing.T, members ...btf.Member) *btf.Spec {
	t.Helper()
	builder, err := btf.NewBuilder([]btf.Type{&btf.Struct{Name: "task_struct", Size: 4096, Members: members}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := builder.Marshal(nil, &btf.MarshalOptions{Order: order()})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// order is that of this machine, as the loader names it.
func order() binary.ByteOrder {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func number() btf.Type {
	return &btf.Typedef{Name: "pid_t", Type: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}}
}

// relocate does what the loader does.
func relocate(t *testing.T, fields []*btf.CORERelocation, spec *btf.Spec) []int64 {
	t.Helper()
	unused := func(btf.Type) (btf.TypeID, error) {
		return 0, errors.New("no relocation needs the identifier of a type")
	}
	fixups, err := btf.CORERelocate(fields, []*btf.Spec{spec}, order(), unused)
	if err != nil {
		t.Fatal(err)
	}
	var offsets []int64
	program, next := instructions(0, fields), 0
	for i := range program {
		if btf.CORERelocationMetadata(&program[i]) == nil {
			continue
		}
		if err := fixups[next].Apply(&program[i]); err != nil {
			t.Fatal(err)
		}
		offsets, next = append(offsets, program[i].Constant), next+1
	}
	return offsets
}

func TestTaskFieldsAreRelocated(t *testing.T) {
	fields, err := taskFields("pid", "tgid")
	if err != nil {
		t.Fatal(err)
	}
	spec := kernel(t,
		btf.Member{Name: "state", Type: number()},
		btf.Member{Name: "tgid", Type: number(), Offset: 8 * 1424},
		btf.Member{Name: "pid", Type: number(), Offset: 8 * 1416},
	)
	if got := relocate(t, fields, spec); len(got) != 2 || got[0] != 1416 || got[1] != 1424 {
		t.Errorf("offsets are %v, want [1416 1424]", got)
	}
	// A field that the kernel does not have poisons the instruction.
	spec = kernel(t, btf.Member{Name: "pid", Type: number(), Offset: 8 * 8})
	if got := relocate(t, fields, spec); len(got) == 2 && got[1] == 4 {
		t.Errorf("offsets are %v: the second must not be that of the local type", got)
	}
}
