package preflight

import (
	"fmt"
	"slices"
	"strings"
)

// sockets returns the inodes of those sockets that are on one of the ports.
func sockets(taken map[int]string, ports []int) []string {
	var inodes []string
	for _, n := range ports {
		if inode := taken[n]; inode != "" && inode != "0" {
			inodes = append(inodes, inode)
		}
	}
	return inodes
}

// holders asks which programs have the sockets: in /proc each process has links
// to what it has open (proc_pid_fd(5)). A host that cannot look for links names
// none, nor is a socket of the kernel's own any program's.
func (a *asker) holders(inodes []string) (map[string]string, error) {
	if len(inodes) == 0 {
		return nil, nil
	}
	argv := []string{"find", "/proc", "-mindepth", "1", "-maxdepth", "3", "(", "-path", "/proc/[!0-9]*"}
	for _, large := range []string{"task", "net", "map_files", "fdinfo"} {
		argv = append(argv, "-o", "-name", large)
	}
	argv = append(argv, ")", "-prune", "-o", "(")
	for i, inode := range inodes {
		if i > 0 {
			argv = append(argv, "-o")
		}
		argv = append(argv, "-lname", `socket:\[`+inode+`\]`)
	}
	out, _ := a.run(append(argv, ")", "-printf", `%p %l\0`)...)
	found := map[string]string{} // process by inode: the first one that has it
	for link := range strings.SplitSeq(out, "\x00") {
		file, socket, _ := strings.Cut(link, " ")
		process, _, _ := strings.Cut(strings.TrimPrefix(file, "/proc/"), "/")
		inode := strings.TrimSuffix(strings.TrimPrefix(socket, "socket:["), "]")
		if slices.Contains(inodes, inode) && found[inode] == "" {
			found[inode] = process
		}
	}
	var asks []func()
	names := make([]string, len(inodes))
	for i, inode := range inodes {
		if process := found[inode]; process != "" {
			asks = append(asks, func() {
				name, _ := a.run("cat", "/proc/"+process+"/comm")
				names[i] = strings.TrimSpace(name)
			})
		}
	}
	err := a.together(asks...)
	programs := map[string]string{}
	for i, inode := range inodes {
		if names[i] != "" {
			programs[inode] = fmt.Sprintf("%s (process %s)", names[i], found[inode])
		}
	}
	return programs, err
}
