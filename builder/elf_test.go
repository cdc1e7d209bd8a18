package builder

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestProgramTellsItsArchitecture(t *testing.T) {
	// The first bytes of programs as they lie in distributions of these architectures.
	const sysv = "\x7fELF"
	rest := strings.Repeat("\x00", 44)
	for _, tt := range []struct {
		name, program, want string
		ok                  bool
	}{
		{"amd64, dynamic", sysv + "\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x3e\x00" + rest, "amd64", true},
		{"amd64, static, of GNU", sysv + "\x02\x01\x01\x03\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00" + rest, "amd64", true},
		{"386", sysv + "\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x03\x00" + rest, "386", true},
		{"arm64", sysv + "\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00" + rest, "arm64", true},
		{"arm", sysv + "\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00" + rest, "arm", true},
		{"s390x", sysv + "\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16" + rest, "s390x", true},
		{"ppc64le", sysv + "\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00" + rest, "ppc64le", true},
		{"ppc64", sysv + "\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15" + rest, "ppc64", true},
		{"riscv64", sysv + "\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00" + rest, "riscv64", true},
		{"loong64", sysv + "\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x02\x01" + rest, "loong64", true},
		{"mips64le", sysv + "\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08\x00" + rest, "mips64le", true},
		{"just the header", sysv + "\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00", "amd64", true},
		{"x32, which has no name", sysv + "\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00" + rest, "", false},
		{"a machine of no name", sysv + "\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf7\x00" + rest, "", false},
		{"no byte order", sysv + "\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00" + rest, "", false},
		{"cut short", sysv + "\x02\x01\x01\x00", "", false},
		{"a script", "#!/bin/sh\nexec /usr/bin/true and more\n", "", false},
		{"nothing", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := strings.NewReader(tt.program)
			got, ok, err := programPlatform(iotest.OneByteReader(r))
			if got != tt.want || ok != tt.ok || err != nil {
				t.Errorf("%q, %v, %v; want %q, %v", got, ok, err, tt.want, tt.ok)
			}
			if read := len(tt.program) - r.Len(); read > 20 {
				t.Errorf("%d bytes were read", read)
			}
		})
	}
	wrong := errors.New("wrong")
	if _, ok, err := programPlatform(iotest.ErrReader(wrong)); ok || !errors.Is(err, wrong) {
		t.Errorf("a file that cannot be read: %v, %v", ok, err)
	}
}

func TestThisProgramIsForThisMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skipf("programs of %s are no ELF files", runtime.GOOS)
	}
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if arch, ok, err := programPlatform(f); arch != runtime.GOARCH || !ok || err != nil {
		t.Errorf("%q, %v, %v", arch, ok, err)
	}
}

func TestEveryArchitectureHasAHeaderOfItsOwn(t *testing.T) {
	seen := map[string]string{}
	for _, a := range elfArchs {
		h := a.header(elf.ET_EXEC)
		if arch, ok, err := programPlatform(io.MultiReader(bytes.NewReader(h))); arch != a.arch || !ok || err != nil {
			t.Errorf("%s reads as %q, %v, %v", a.arch, arch, ok, err)
		}
		if other, twice := seen[string(h)]; twice {
			t.Errorf("%s and %s look the same", other, a.arch)
		}
		seen[string(h)] = a.arch
	}
}

func TestInterpretersOfForeignProgramsAreFound(t *testing.T) {
	const few = "testdata/binfmt/few"
	for name, tt := range map[string]struct {
		dir, os, arch string
		want          bool
	}{
		"registered":                        {few, "linux", "arm64", true},
		"with more flags":                   {few, "linux", "riscv64", true},
		"not kept open":                     {few, "linux", "s390x", false},
		"disabled":                          {few, "linux", "ppc64le", false},
		"without a mask, so of static only": {few, "linux", "arm", false},
		"not registered":                    {few, "linux", "loong64", false},
		"another byte order":                {few, "linux", "ppc64", false},
		"another system":                    {few, "windows", "arm64", false},
		"an architecture of no name":        {few, "linux", "vax", false},
		"all switched off":                  {"testdata/binfmt/off", "linux", "arm64", false},
		"no such file system":               {"testdata/binfmt/none", "linux", "arm64", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := binfmtFor(tt.dir, v1.Platform{OS: tt.os, Architecture: tt.arch}); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
	t.Logf("this machine runs arm64: %v", binfmtFor(binfmtDir, v1.Platform{OS: "linux", Architecture: "arm64"}))
}
