package builder

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// elfHeader is the beginning of an ELF file, up to e_machine (System V ABI, "ELF Header").
const elfHeader = 20

// machine is what the header of an ELF file says about who can run it.
type machine struct {
	class elf.Class
	data  elf.Data
	code  elf.Machine
}

// elfArch is Go's name of the architecture of programs for a machine.
type elfArch struct {
	machine
	arch string
}

// elfArchs are the architectures that Go and container images have names for.
var elfArchs = [...]elfArch{ //nolint:gochecknoglobals // a table that nothing changes
	{machine{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64}, "amd64"},
	{machine{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386}, "386"},
	{machine{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64}, "arm64"},
	{machine{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM}, "arm"},
	{machine{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64}, "ppc64le"},
	{machine{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_PPC64}, "ppc64"},
	{machine{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390}, "s390x"},
	{machine{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV}, "riscv64"},
	{machine{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_LOONGARCH}, "loong64"},
	{machine{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_MIPS}, "mips64le"},
	{machine{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_MIPS}, "mips64"},
	{machine{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_MIPS}, "mipsle"},
	{machine{elf.ELFCLASS32, elf.ELFDATA2MSB, elf.EM_MIPS}, "mips"},
}

// programPlatform returns the architecture, by Go's name, that a program is for. ok is false when r is no ELF file,
// such as a script, or one for a machine without a name in the table. It reads the first 20 bytes only.
func programPlatform(r io.Reader) (arch string, ok bool, err error) {
	b := make([]byte, elfHeader)
	if _, err := io.ReadFull(r, b); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "", false, nil
	} else if err != nil {
		return "", false, fmt.Errorf("read the header of a program: %w", err)
	}
	m, ok := readMachine(b)
	if !ok {
		return "", false, nil
	}
	for _, a := range elfArchs {
		if a.machine == m {
			return a.arch, true, nil
		}
	}
	return "", false, nil
}

// readMachine reads the first bytes of an ELF file.
func readMachine(b []byte) (m machine, ok bool) {
	if len(b) < elfHeader || string(b[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return machine{}, false
	}
	m = machine{class: elf.Class(b[elf.EI_CLASS]), data: elf.Data(b[elf.EI_DATA])}
	order, ok := m.order()
	if !ok {
		return machine{}, false
	}
	m.code = elf.Machine(order.Uint16(b[elfHeader-2:]))
	return m, true
}

func (m machine) order() (binary.ByteOrder, bool) {
	switch m.data {
	case elf.ELFDATA2LSB:
		return binary.LittleEndian, true
	case elf.ELFDATA2MSB:
		return binary.BigEndian, true
	}
	return nil, false
}

// header returns the beginning of a program for m, as Linux tools make it.
func (m machine) header(kind elf.Type) []byte {
	b := make([]byte, elfHeader)
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS], b[elf.EI_DATA], b[elf.EI_VERSION] = byte(m.class), byte(m.data), byte(elf.EV_CURRENT)
	if order, ok := m.order(); ok {
		order.PutUint16(b[elfHeader-4:], uint16(kind))
		order.PutUint16(b[elfHeader-2:], uint16(m.code))
	}
	return b
}

// binfmtDir is where the kernel lists its interpreters of foreign programs (Linux admin-guide/binfmt-misc.rst).
const binfmtDir = "/proc/sys/fs/binfmt_misc"

// binfmtFor reports whether this kernel hands programs for p to an interpreter that it keeps open (flag F), so that
// they run within other root file systems too. dir is binfmtDir.
func binfmtFor(dir string, p v1.Platform) bool {
	if p.OS != "linux" {
		return false
	}
	if status, err := os.ReadFile(filepath.Join(dir, "status")); err != nil || strings.TrimSpace(string(status)) != "enabled" {
		return false
	}
	for _, a := range elfArchs {
		if a.arch == p.Architecture {
			return anyRuns(dir, a.header(elf.ET_EXEC)) && anyRuns(dir, a.header(elf.ET_DYN))
		}
	}
	return false
}

// anyRuns reports whether one of the registered interpreters takes a program that begins with header.
func anyRuns(dir string, header []byte) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if e.Name() == "status" || e.Name() == "register" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil && parseBinfmt(string(text)).runs(header) {
			return true
		}
	}
	return false
}

// binfmt is one registered interpreter, as the kernel prints it.
type binfmt struct {
	enabled     bool
	fixed       bool // flag F: opened when it was registered
	offset      int
	magic, mask []byte // mask may be nil
}

// parseBinfmt reads an entry. What it does not understand makes one that runs nothing.
func parseBinfmt(text string) binfmt {
	var b binfmt
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "enabled":
			b.enabled = true
		case "flags:":
			b.fixed = strings.Contains(value, "F")
		case "offset":
			b.offset, _ = strconv.Atoi(value)
		case "magic":
			b.magic, _ = hex.DecodeString(value)
		case "mask":
			b.mask, _ = hex.DecodeString(value)
		}
	}
	return b
}

// runs reports whether the interpreter takes a program that begins with header. Bytes of the magic beyond the header
// are not looked at.
func (b binfmt) runs(header []byte) bool {
	if !b.enabled || !b.fixed || b.offset != 0 || len(b.magic) < elfHeader || b.mask != nil && len(b.mask) != len(b.magic) {
		return false
	}
	for i := range header {
		differs := header[i] ^ b.magic[i]
		if b.mask != nil {
			differs &= b.mask[i]
		}
		if differs != 0 {
			return false
		}
	}
	return true
}
