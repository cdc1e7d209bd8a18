package sandbox

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// probeName makes the test binary a program that tries what the filter denies and says how it went.
const probeName = "sandbox-test-probe"

type try struct {
	name string
	call uintptr
	args [5]uintptr
	want unix.Errno
}

// tries are calls that a filter alone answers in this way: without one, they work or find fault with the arguments.
func tries() []try {
	const nobody = ^uintptr(0)
	return []try{
		{"keyctl", unix.SYS_KEYCTL, [5]uintptr{unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 1}, unix.EPERM}, // the session's
		{"add_key", unix.SYS_ADD_KEY, [5]uintptr{}, unix.EPERM},
		{"request_key", unix.SYS_REQUEST_KEY, [5]uintptr{}, unix.EPERM},
		{"bpf", unix.SYS_BPF, [5]uintptr{nobody}, unix.EPERM},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [5]uintptr{}, unix.EPERM},
		{"userfaultfd", unix.SYS_USERFAULTFD, [5]uintptr{nobody}, unix.EPERM},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, [5]uintptr{1}, unix.EPERM},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [5]uintptr{nobody}, unix.EPERM},
		{"mount", unix.SYS_MOUNT, [5]uintptr{0, 1}, unix.EPERM},
		{"move_mount", unix.SYS_MOVE_MOUNT, [5]uintptr{}, unix.EPERM},
		{"settimeofday", unix.SYS_SETTIMEOFDAY, [5]uintptr{1}, unix.EPERM},
		{"setns", unix.SYS_SETNS, [5]uintptr{nobody}, unix.EPERM},
		{"unshare user", unix.SYS_UNSHARE, [5]uintptr{unix.CLONE_NEWUSER}, unix.EPERM},
		{"unshare nothing", unix.SYS_UNSHARE, [5]uintptr{}, 0},
		{"clone user", unix.SYS_CLONE, [5]uintptr{unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD)}, unix.EPERM},
		{"clone3", unix.SYS_CLONE3, [5]uintptr{}, unix.ENOSYS},
		{"vsock", unix.SYS_SOCKET, [5]uintptr{unix.AF_VSOCK, unix.SOCK_STREAM}, unix.EAFNOSUPPORT},
		{"ptrace", unix.SYS_PTRACE, [5]uintptr{nobody}, unix.ESRCH},
		{"getpid", unix.SYS_GETPID, [5]uintptr{}, 0},
	}
}

func probe() int {
	if address := os.Getenv("DIAL"); address != "" {
		network, address, _ := strings.Cut(address, " ")
		conn, err := net.Dial(network, address)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		conn.Close()
		return 0
	}
	for _, t := range tries() {
		pid, _, errno := unix.RawSyscall6(t.call, t.args[0], t.args[1], t.args[2], t.args[3], t.args[4], 0)
		if t.call == unix.SYS_CLONE && errno == 0 && pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0) // the child of a clone that was not denied
		}
		fmt.Println(t.name, int(errno))
	}
	return 0
}

// probeConfig is a Config that runs probe.
func probeConfig(t *testing.T) Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := newConfig(t, "exec /probe "+probeName)
	c.Mounts = []Mount{{Target: "/probe", Source: self, ReadOnly: true}}
	return c
}

func TestSystemCallsAreDenied(t *testing.T) {
	c := probeConfig(t)
	var want strings.Builder
	for _, t := range tries() {
		fmt.Fprintln(&want, t.name, int(t.want))
	}
	if diff := cmp.Diff(want.String(), runScript(t, c)); diff != "" {
		t.Error(diff)
	}
}

func TestFilterOfEveryArchitecture(t *testing.T) {
	const allow, eperm, enosys = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO | int(unix.EPERM), unix.SECCOMP_RET_ERRNO | int(unix.ENOSYS)
	families := map[string][]*arch.Info{"amd64": {arch.X86_64, arch.I386}, "arm64": {arch.AARCH64, arch.ARM}}
	calls := []struct {
		name string
		arg  uint32
		want int
	}{
		{"keyctl", 0, eperm}, {"mount", 0, eperm}, {"reboot", 0, eperm}, {"kexec_load", 0, eperm}, {"swapon", 0, eperm},
		{"io_uring_setup", 0, eperm}, {"finit_module", 0, eperm}, {"bpf", 0, eperm}, {"perf_event_open", 0, eperm},
		{"clone", unix.CLONE_NEWUSER | unix.CLONE_VM, eperm}, {"clone", unix.CLONE_VM | unix.CLONE_VFORK, allow}, {"clone3", 0, enosys},
		{"unshare", unix.CLONE_NEWUSER, eperm}, {"unshare", unix.CLONE_FS, allow}, {"ptrace", 0, allow}, {"read", 0, allow},
		{"socket", unix.AF_INET, allow}, {"execve", 0, allow}, {"chroot", 0, allow}, {"setxattr", 0, allow},
	}
	for name, family := range families {
		vm, err := bpf.NewVM(filterProgram(family))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range family {
			for _, c := range calls {
				call, ok := a.SyscallNames[c.name]
				if !ok {
					t.Fatalf("%s has no %s", a.Name, c.name)
				}
				if got := verdict(t, vm, uint32(a.ID), uint32(call), c.arg); got != c.want {
					t.Errorf("%s on %s: %s(%#x): %#x, want %#x", a.Name, name, c.name, c.arg, got, c.want)
				}
			}
		}
		if got := verdict(t, vm, uint32(arch.PPC.ID), 3, 0); got != enosys {
			t.Errorf("a foreign architecture: %#x", got)
		}
	}
	vm, err := bpf.NewVM(filterProgram(families["amd64"]))
	if err != nil {
		t.Fatal(err)
	}
	if got := verdict(t, vm, uint32(arch.X86_64.ID), x32Bit|250, 0); got != enosys {
		t.Errorf("x32: %#x", got)
	}
}

// verdict runs a filter on a call. The machine of the bpf package reads big-endian numbers, the kernel's its own.
func verdict(t *testing.T, vm *bpf.VM, family, call, arg uint32) int {
	t.Helper()
	var data [64]byte // struct seccomp_data
	binary.BigEndian.PutUint32(data[callOffset:], call)
	binary.BigEndian.PutUint32(data[archOffset:], family)
	binary.BigEndian.PutUint32(data[argumentOffset:], arg)
	got, err := vm.Run(data[:])
	if err != nil {
		t.Fatal(err)
	}
	return got
}
