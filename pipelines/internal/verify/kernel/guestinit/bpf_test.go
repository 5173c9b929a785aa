//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/require"
)

// kernel returns the types of a kernel.
func kernel(t *testing.T, members ...btf.Member) *btf.Spec {
	t.Helper()
	builder, err := btf.NewBuilder([]btf.Type{&btf.Struct{Name: "task_struct", Size: 4096, Members: members}}, nil)
	require.NoError(t, err)
	raw, err := builder.Marshal(nil, &btf.MarshalOptions{Order: order()})
	require.NoError(t, err)
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	require.NoError(t, err)
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

func TestTaskOffsets(t *testing.T) {
	spec := kernel(t,
		btf.Member{Name: "state", Type: number()},
		btf.Member{Name: "tgid", Type: number(), Offset: 8 * 1424},
		btf.Member{Name: "pid", Type: number(), Offset: 8 * 1416},
	)
	offsets, err := taskOffsets(spec, "pid", "tgid")
	if err != nil || !slices.Equal(offsets, []int16{1416, 1424}) {
		t.Errorf("offsets are %v, %v: want [1416 1424]", offsets, err)
	}
	var read []int16
	for _, instruction := range instructions(0, offsets) {
		if instruction.OpCode == asm.LoadMemOp(asm.Word) && instruction.Src == asm.R0 {
			read = append(read, instruction.Offset)
		}
	}
	if !slices.Equal(read, offsets) {
		t.Errorf("the program reads at %v: want %v", read, offsets)
	}
	if _, err := taskOffsets(kernel(t, btf.Member{Name: "pid", Type: number()}), "pid", "tgid"); err == nil || !strings.Contains(err.Error(), "no field tgid") {
		t.Errorf("without a field: %v", err)
	}
}
