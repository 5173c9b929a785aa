package payload

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/archive"
)

// machineAt is where ELF files have their machine.
const machineAt = 18

// CheckPrograms refuses a tarball with a program of another architecture in a folder
// bin: a folder of tarballs does not say which one it is for. One without an index is
// not looked into.
func CheckPrograms(tarball, goarch string) error {
	file, err := archive.Open(tarball)
	if errors.Is(err, archive.ErrNoIndex) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	for _, member := range file.Index().Members() {
		if !member.Mode.IsRegular() || path.Base(path.Dir(member.Name)) != "bin" || member.Size < machineAt+2 {
			continue
		}
		got, program, err := machineOf(file, member.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", tarball, err)
		}
		if program && got != machines[goarch] {
			return fmt.Errorf("%s: %s is for %s, %s: want the tarball for %s", tarball, member.Name, got.machine, got.data, goarch)
		}
	}
	return nil
}

// machineOf reads what a program is for; a file that is not ELF is not a program.
func machineOf(file *archive.File, name string) (of machine, program bool, err error) {
	content, err := file.ReadFile(name)
	if err != nil {
		return machine{}, false, err
	}
	defer content.Close()
	var head [machineAt + 2]byte
	if _, err := io.ReadFull(content, head[:]); err != nil {
		return machine{}, false, err
	}
	if !bytes.HasPrefix(head[:], []byte(elf.ELFMAG)) {
		return machine{}, false, nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	of.data = elf.Data(head[elf.EI_DATA])
	if of.data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	of.machine = elf.Machine(order.Uint16(head[machineAt:]))
	return of, true, nil
}
