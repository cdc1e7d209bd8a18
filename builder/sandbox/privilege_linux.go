package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keptCapabilities is what installers need inside a tree: to own, change and enter files of every user, and to
// become another user. Nothing that reaches the kernel, a device or the network's settings.
func keptCapabilities() []uint {
	return []uint{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL, unix.CAP_SETGID,
		unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SYS_CHROOT, unix.CAP_NET_BIND_SERVICE,
	}
}

// hasSysAdmin says whether this process may make namespaces and mounts as it is.
func hasSysAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// dropPrivileges leaves the calling thread, and what it executes, with keptCapabilities for good.
func dropPrivileges() error {
	_, _ = unix.KeyctlJoinSessionKeyring("") // the caller's keys stay the caller's; some kernels have no keys at all
	var keep uint64
	for _, c := range keptCapabilities() {
		keep |= 1 << c
	}
	for c := uint(0); c <= 63; c++ {
		if keep&(1<<c) != 0 {
			continue
		}
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err != nil {
			break // past the last capability of this kernel
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if err := limitCapabilities(keep); err != nil {
		return fmt.Errorf("limit capabilities: %w", err)
	}
	scopeSockets()
	return filterCalls()
}

// limitCapabilities takes away all capabilities but those of keep that the thread has.
func limitCapabilities(keep uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for i := range data {
		have := data[i].Permitted & uint32(keep>>(32*i))
		data[i] = unix.CapUserData{Effective: have, Permitted: have}
	}
	return unix.Capset(&header, &data[0])
}

// scopeSockets cuts the command off from abstract unix sockets of the machine, which share the host's network and so
// survive the mount namespace. It needs Landlock of Linux 6.12; older kernels leave such sockets reachable, as they
// are for any container on the host's network.
func scopeSockets() {
	attr := unix.LandlockRulesetAttr{Scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), 24, 0)
	if errno != 0 {
		return
	}
	defer unix.Close(int(fd))
	_, _, _ = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
}
