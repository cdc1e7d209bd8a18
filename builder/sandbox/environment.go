package sandbox

import "strings"

// Hostname is the name that commands find for their machine.
const Hostname = "sealrt"

// Environ returns the environment that Run gives a command of user (Config.User): its own variables, then those of given
// (K=V), which win, but for PATH, which the tree's and the sandbox's directories surround. inTree says that the tree is
// the root file system: HOME, unless given, is left out then for whoever starts the command to look up in the tree, as
// container runtimes do. haveCA says that there is a CABundle. Engines that run commands elsewhere give them the same.
func Environ(given []string, user string, inTree, haveCA bool) []string {
	home := ""
	if !inTree {
		home = homeIn(passwd, user)
	}
	return environ(given, home, inTree, haveCA)
}

// homeIn returns the home that the text of a passwd file (passwd(5)) has for user, by name or number; "" is root.
func homeIn(passwd, user string) string {
	name, _, _ := strings.Cut(user, ":")
	if name == "" {
		name = "0"
	}
	for line := range strings.Lines(passwd) {
		if fields := strings.Split(line, ":"); len(fields) > 5 && (fields[0] == name || fields[2] == name) {
			return fields[5]
		}
	}
	return noHome
}
