package sandbox

// Environ returns the environment that Run gives a command: its own variables, then those of given (K=V), which win, but
// for PATH, which the tree's and the sandbox's directories surround. inTree says that the tree is the root file system,
// haveCA that there is a CABundle. Engines that run commands elsewhere give them the same.
func Environ(given []string, inTree, haveCA bool) []string {
	home := "/tmp"
	if inTree {
		home = "/root"
	}
	return environ(given, home, inTree, haveCA)
}
