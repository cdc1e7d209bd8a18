package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// start starts what newCommand returns, without root as root of a user namespace: one with the subordinate ids of the
// user if there are any and newuidmap and newgidmap can map them, or else with one id. The process must not do anything
// that needs its ids before it heard from the caller.
func start(newCommand func() *exec.Cmd, unprivileged bool) (*exec.Cmd, error) {
	if !unprivileged {
		cmd := newCommand()
		return cmd, cmd.Start()
	}
	uids, gids := ids("/etc/subuid", os.Geteuid()), ids("/etc/subgid", os.Getegid())
	if len(uids) > 1 && len(gids) > 1 {
		if cmd, err := startMapped(newCommand(), uids, gids); err == nil {
			return cmd, nil
		}
	}
	cmd := newCommand()
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	return cmd, cmd.Start()
}

// startMapped starts cmd and then has its ids mapped. Ambient capabilities outlive the exec, at which the process has
// no id yet.
func startMapped(cmd *exec.Cmd, uids, gids idMap) (*exec.Cmd, error) {
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
	for c := uintptr(0); c < 64; c++ {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil {
			break // past the last capability of this kernel
		}
		cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, c)
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	err := writeMap("newuidmap", cmd.Process.Pid, uids)
	if err == nil {
		err = writeMap("newgidmap", cmd.Process.Pid, gids)
	}
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return cmd, nil
}

func writeMap(tool string, pid int, m idMap) error {
	said, err := exec.Command(tool, append([]string{strconv.Itoa(pid)}, m.arguments()...)...).CombinedOutput() //nolint:noctx // ends at once
	if err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, said)
	}
	return nil
}

// ownMap reads the map of this process's ids from a file such as /proc/self/uid_map.
func ownMap(file string) (idMap, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m := idMap{}
	for line := range strings.Lines(string(data)) {
		var r idRange
		if _, err := fmt.Sscan(line, &r.inside, &r.outside, &r.count); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		m = append(m, r)
	}
	return m, nil
}

// mapped returns who without the supplementary groups that this namespace does not know, or an error when it does not
// know the user or the user's group.
func (who identity) mapped() (identity, error) {
	if err := mapped(who.UID, who.GID); err != nil {
		return who, err
	}
	groups, err := ownMap("/proc/self/gid_map")
	who.Groups = slices.DeleteFunc(who.Groups, func(gid int) bool { return !groups.has(gid) })
	return who, err
}

// mapped returns nil when a process of this namespace may have these ids.
func mapped(uid, gid int) error {
	uids, err := ownMap("/proc/self/uid_map")
	if err != nil {
		return err
	}
	gids, err := ownMap("/proc/self/gid_map")
	if err != nil {
		return err
	}
	if !uids.has(uid) {
		return fmt.Errorf("user %d does not exist in the sandbox of this user: %s", uid, moreIDs)
	}
	if !gids.has(gid) {
		return fmt.Errorf("group %d does not exist in the sandbox of this user: %s", gid, moreIDs)
	}
	return nil
}

const moreIDs = "build as root, or install uidmap (newuidmap, newgidmap) and give this user a large enough range in " +
	"/etc/subuid and /etc/subgid, such as name:100000:65536"

// inNamespace runs one of this program's own functions (helperName) on dir, with the ids of a sandbox.
func inNamespace(what, dir string) error {
	waiting, mapped, err := os.Pipe()
	if err != nil {
		return err
	}
	defer waiting.Close()
	defer mapped.Close()
	var said strings.Builder
	cmd, err := start(func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe") //nolint:noctx // removes or opens what a command left, even after it was stopped
		cmd.Args = []string{helperName, what, dir}
		cmd.Env = []string{}
		cmd.Stdin, cmd.Stderr = waiting, &said
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		return cmd
	}, true)
	if err != nil {
		return err
	}
	mapped.Close()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("in a user namespace: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

// help is the other end of inNamespace.
func help(args []string) int {
	_, err := io.Copy(io.Discard, os.Stdin) // ends when this process has its ids
	switch {
	case err != nil || len(args) != 2:
	case args[0] == "remove":
		err = removeLocked(args[1])
	case args[0] == "open":
		err = openTree(args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
