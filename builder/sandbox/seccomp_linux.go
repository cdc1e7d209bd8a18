package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// deniedCalls are the system calls that no installer needs and that reach beyond a container: what the default profile
// of container runtimes leaves out (github.com/moby/profiles/seccomp, default.json), without the old and harmless.
// They fail with EPERM, as they do without the capability.
func deniedCalls() []string {
	return []string{
		"acct", "add_key", "bpf", "clock_settime", "clock_settime64", "create_module", "delete_module", "fanotify_init",
		"finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
		"io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
		"lookup_dcookie", "mount", "mount_setattr", "move_mount", "nfsservctl", "open_by_handle_at", "open_tree",
		"perf_event_open", "pivot_root", "quotactl", "quotactl_fd", "reboot", "request_key", "setns", "settimeofday",
		"stime", "swapoff", "swapon", "syslog", "umount", "umount2", "userfaultfd", "vhangup", "vm86", "vm86old",
	}
}

// Offsets in what a filter sees of a call (struct seccomp_data, linux/seccomp.h); both architectures are little-endian.
const (
	callOffset     = 0
	archOffset     = 4
	argumentOffset = 16 // the low half of the first argument
)

// x32Bit marks calls of the x32 ABI, which has numbers of its own for the same calls (linux/asm/unistd.h).
const x32Bit = 0x40000000

// filterCalls denies system calls to the calling thread and all that it executes, for good: no_new_privs is set
// before. There is a filter for programs of amd64 and arm64 machines, of 64 and of 32 bits; programs of foreign
// architectures run in an emulator that is one of these. On other machines, and on kernels without filters, namespaces,
// the lack of capabilities and no_new_privs are what there is.
func filterCalls() error {
	var families []*arch.Info
	switch runtime.GOARCH {
	case "amd64":
		families = []*arch.Info{arch.X86_64, arch.I386}
	case "arm64":
		families = []*arch.Info{arch.AARCH64, arch.ARM}
	default:
		return nil
	}
	program, err := bpf.Assemble(filterProgram(families))
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
	runtime.KeepAlive(filter)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("set the system call filter: %w", err)
	}
	return nil
}

// filterProgram has a section for each architecture. Any other may not call at all.
func filterProgram(families []*arch.Info) []bpf.Instruction {
	var program []bpf.Instruction
	for _, a := range families {
		section := filterSection(a)
		program = append(program,
			bpf.LoadAbsolute{Off: archOffset, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(a.ID), SkipTrue: 1},
			bpf.Jump{Skip: uint32(len(section))},
		)
		program = append(program, section...)
	}
	return append(program, answer(unix.ENOSYS))
}

func filterSection(a *arch.Info) []bpf.Instruction {
	section := []bpf.Instruction{bpf.LoadAbsolute{Off: callOffset, Size: 4}}
	if a == arch.X86_64 {
		section = append(section, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: x32Bit, SkipFalse: 1}, answer(unix.ENOSYS))
	}
	deny := func(name string, because ...bpf.Instruction) {
		if call, ok := a.SyscallNames[name]; ok {
			section = append(section, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(call), SkipFalse: uint8(len(because))})
			section = append(section, because...)
		}
	}
	for _, name := range deniedCalls() {
		deny(name, answer(unix.EPERM))
	}
	deny("clone3", answer(unix.ENOSYS)) // its flags lie in memory; the C library falls back on clone
	firstArgument := bpf.LoadAbsolute{Off: argumentOffset, Size: 4}
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	for _, name := range []string{"clone", "unshare"} {
		deny(name, firstArgument, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: unix.CLONE_NEWUSER, SkipFalse: 1}, answer(unix.EPERM), allow)
	}
	deny("socket", firstArgument, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_VSOCK, SkipFalse: 1}, answer(unix.EAFNOSUPPORT), allow)
	return append(section, allow)
}

func answer(errno unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(errno)}
}
