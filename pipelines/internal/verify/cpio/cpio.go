// Package cpio writes the archives that Linux takes as an initramfs: the format
// "newc" of Documentation/driver-api/early-userspace/buffer-format.rst.
package cpio

import (
	"fmt"
	"io"
)

// Types of members, as in the modes of stat(2).
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeChar = 0o020000
)

// Writer writes an archive, which ends with Close. After the first error every
// call returns that error.
type Writer struct {
	to    io.Writer
	inode uint32
	size  int64
	err   error
}

// NewWriter returns a writer of an archive.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Dir adds a folder; the ones above it come first.
func (w *Writer) Dir(name string) error { return w.member(name, typeDir|0o755, nil, 0, 0) }

// File adds a program or another file; mode is its permissions.
func (w *Writer) File(name string, mode uint32, content []byte) error {
	return w.member(name, typeFile|mode, content, 0, 0)
}

// Char adds a character device.
func (w *Writer) Char(name string, major, minor uint32) error {
	return w.member(name, typeChar|0o600, nil, major, minor)
}

// Close writes the end of the archive.
func (w *Writer) Close() error { return w.member("TRAILER!!!", 0, nil, 0, 0) }

// member writes header, name and content, each padded to four bytes. Owner and
// time are 0.
func (w *Writer) member(name string, mode uint32, content []byte, major, minor uint32) error {
	if int64(len(content)) > 1<<32-1 {
		return fmt.Errorf("%s has %d bytes: a member of this format has less than 4 GiB", name, len(content))
	}
	w.inode++
	links := uint32(1)
	if mode&typeDir != 0 {
		links = 2
	}
	fields := []uint32{w.inode, mode, 0, 0, links, 0, uint32(len(content)), 0, 0, major, minor, uint32(len(name) + 1), 0}
	header := "070701"
	for _, field := range fields {
		header += fmt.Sprintf("%08X", field)
	}
	w.write([]byte(header + name + "\x00"))
	w.pad()
	w.write(content)
	w.pad()
	return w.err
}

func (w *Writer) pad() { w.write(make([]byte, -w.size&3)) }

func (w *Writer) write(p []byte) {
	if w.err != nil {
		return
	}
	n, err := w.to.Write(p)
	w.size += int64(n)
	if err != nil {
		w.err = fmt.Errorf("writing the initramfs: %w", err)
	}
}
