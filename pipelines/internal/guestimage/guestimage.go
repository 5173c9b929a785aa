// Package guestimage writes and reads the disk images that guests boot from: a root
// filesystem in a partition, with the hash tree of dm-verity in a second one if the image
// is measured.
//
// The one idea: an image with a DAX header is two disks in one file. A virtio-blk disk
// begins at byte 0 with the first MBR. A guest that gets the file as an NVDIMM finds the
// header of the nvdimm driver at 4 KiB, which moves the start of the device to 2 MiB, where
// the second MBR is; it can then map files instead of copying them. Both tables describe
// the same partitions:
//
//	0        MBR: partitions from 3 MiB on
//	4 KiB    DAX header: struct nd_pfn_sb of Linux, drivers/nvdimm/pfn.h
//	2 MiB    MBR: the same partitions, from 1 MiB on
//	3 MiB    root filesystem
//	...      at the next MiB: hash tree, without a superblock
//
// Without a DAX header there is one MBR, and the root filesystem is at 1 MiB. The size of
// an image with ext4 is a multiple of 128 MiB, as memory hotplug wants it of an NVDIMM on
// all architectures; that of others is one of 2 MiB with a DAX header, which Linux demands
// of it, and of 1 MiB without.
//
// Reading refuses everything that Linux would refuse or that the two tables do not agree
// on, but not what neither uses: boot code, disk signatures, cylinders and heads.
//
// The partition table is written here, and not by a library: it is 34 bytes, and libraries
// write it to a file only. The filesystems and hash trees come from their own tools.
package guestimage

import (
	"errors"
	"fmt"
	"io"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	sectorSize = 512
	// BlockSize is that of the filesystems and of dm-verity.
	BlockSize = 4 * kib

	// tableGap is between an MBR and the first partition.
	tableGap = mib
	// daxStart is where the device of a guest with DAX begins.
	daxStart = 2 * mib
)

// The filesystems that an image can have.
const (
	Ext4  = "ext4"
	Erofs = "erofs"
)

// Filesystems are all of them.
var Filesystems = []string{Ext4, Erofs}

// Extent is a part of an image, in bytes.
type Extent struct{ Start, Size int64 }

func (e Extent) end() int64 { return e.Start + e.Size }

// Layout says where the parts of an image are.
type Layout struct {
	DAX  bool
	Root Extent
	// Hash is that of the hash tree, zero for an image that is not measured.
	Hash Extent
	// Size is that of the whole image.
	Size int64
}

// Plan returns the layout of an image with a root filesystem and, unless its size is 0, a
// hash tree.
func Plan(filesystem string, dax bool, root, hash int64) (Layout, error) {
	l := Layout{DAX: dax, Root: Extent{Start: tableGap, Size: root}}
	align := int64(mib)
	if dax {
		l.Root.Start += daxStart
		align = daxStart
	}
	if filesystem == Ext4 {
		align = 128 * mib
	}
	end := l.Root.end()
	if hash > 0 {
		l.Hash = Extent{Start: roundUp(end, mib), Size: hash}
		end = l.Hash.end()
	}
	l.Size = roundUp(end, align)
	return l, l.check()
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// check refuses a layout that a partition table cannot hold or that Linux refuses.
func (l Layout) check() error {
	const most = sectorSize << 32
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	const hashPartition = "hash partition"
	for _, part := range []struct {
		name string
		Extent
	}{{"root partition", l.Root}, {hashPartition, l.Hash}} {
		switch {
		case part.name == hashPartition && part.Extent == Extent{}:
		case part.Size <= 0 || part.Size%BlockSize != 0:
			problem("the %s has %d bytes: want a multiple of %d", part.name, part.Size, BlockSize)
		case part.Start%mib != 0:
			problem("the %s begins at byte %d: want a multiple of 1 MiB", part.name, part.Start)
		case part.end() > l.Size:
			problem("the %s ends at byte %d, but the image has %d bytes", part.name, part.end(), l.Size)
		}
	}
	if l.Hash.Size > 0 && l.Hash.Start < l.Root.end() {
		problem("the hash partition begins at byte %d, within the root partition, which ends at byte %d", l.Hash.Start, l.Root.end())
	}
	if l.Size > most {
		problem("%d bytes are more than the %d that a partition table can address", l.Size, int64(most))
	}
	if l.DAX && l.Size%daxStart != 0 {
		problem("the image has %d bytes: want a multiple of 2 MiB, or Linux refuses it as an NVDIMM", l.Size)
	}
	return errors.Join(problems...)
}

// partitions returns the partitions as the disk that begins at a byte of the image has
// them.
func (l Layout) partitions(disk int64) []Extent {
	parts := []Extent{{l.Root.Start - disk, l.Root.Size}}
	if l.Hash.Size > 0 {
		parts = append(parts, Extent{l.Hash.Start - disk, l.Hash.Size})
	}
	return parts
}

// Write writes the image. Root and hash must have exactly the sizes in the layout; hash is
// not read without a hash partition.
func (l Layout) Write(to io.Writer, root, hash io.Reader) error {
	if err := l.check(); err != nil {
		return err
	}
	w := &writer{to: to}
	w.bytes(0, table(l.partitions(0)))
	if l.DAX {
		w.bytes(headerStart, newHeader(daxStart).encode())
		w.bytes(daxStart, table(l.partitions(daxStart)))
	}
	w.copy("root filesystem", l.Root, root)
	if l.Hash.Size > 0 {
		w.copy("hash tree", l.Hash, hash)
	}
	w.fill(l.Size)
	return w.err
}

// Read reads the layout of an image, or says what is wrong with it.
func Read(from io.ReaderAt, size int64) (Layout, error) {
	l := Layout{Size: size}
	parts, err := readTable(from, 0)
	if err != nil {
		return l, err
	}
	l.Root = parts[0]
	if len(parts) > 1 {
		l.Hash = parts[1]
	}
	head, err := readHeader(from)
	if err != nil {
		return l, err
	}
	if l.DAX = head != nil; l.DAX {
		if err := l.checkDAX(from, *head); err != nil {
			return l, err
		}
	}
	return l, l.check()
}

// checkDAX checks the header and the second table against the first table.
func (l Layout) checkDAX(from io.ReaderAt, head header) error {
	if err := head.check(); err != nil {
		return fmt.Errorf("the DAX header at byte %d: %w", headerStart, err)
	}
	parts, err := readTable(from, daxStart)
	if err != nil {
		return err
	}
	want := l.partitions(daxStart)
	if len(parts) != len(want) {
		return fmt.Errorf("the MBR at byte 0 has %d partitions, the one at byte %d has %d", len(want), daxStart, len(parts))
	}
	for i, part := range parts {
		if part != want[i] {
			return fmt.Errorf("partition %d begins at byte %d of the file and has %d bytes by the MBR at byte 0, but at byte %d with %d bytes by the one at byte %d",
				i+1, want[i].Start+daxStart, want[i].Size, part.Start+daxStart, part.Size, daxStart)
		}
	}
	return nil
}
