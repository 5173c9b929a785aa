package kernel

import (
	"bytes"
	"fmt"
	"os"
)

// Types of members, as in the modes of stat(2).
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeChar = 0o020000
)

// member is a member of an initramfs.
type member struct {
	name         string
	mode         uint32
	major, minor uint32
	content      []byte
}

// cpio returns an archive of the format "newc" that Linux takes as an initramfs:
// Documentation/driver-api/early-userspace/buffer-format.rst. Each member is a
// header of 13 numbers, its name and its content, padded to four bytes.
func cpio(members ...member) []byte {
	var out bytes.Buffer
	pad := func() { out.Write(make([]byte, -out.Len()&3)) }
	for i, m := range append(members, member{name: "TRAILER!!!"}) {
		out.WriteString("070701")
		for _, field := range []uint32{
			uint32(i + 1), m.mode, 0, 0, 1, 0, uint32(len(m.content)), 0, 0, m.major, m.minor, uint32(len(m.name) + 1), 0,
		} {
			fmt.Fprintf(&out, "%08X", field)
		}
		out.WriteString(m.name + "\x00")
		pad()
		out.Write(m.content)
		pad()
	}
	return out.Bytes()
}

// writeInitramfs writes the guest's root: the init, a console for it, and folders
// to mount on.
func writeInitramfs(path, init string) error {
	program, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	const folder = typeDir | 0o755
	return os.WriteFile(path, cpio(
		member{name: "dev", mode: folder}, member{name: "proc", mode: folder}, member{name: "run", mode: folder}, member{name: "sys", mode: folder},
		member{name: "dev/console", mode: typeChar | 0o600, major: 5, minor: 1},
		member{name: "init", mode: typeFile | 0o755, content: program},
	), 0o644)
}
