package sandbox

import (
	"fmt"
	"net/netip"
	"path"
	"strings"
)

// ScriptFile is where Config.Script appears, in both kinds of root and with any engine.
const ScriptFile = "/dev/sealrt-script"

// The users that the build sandbox knows (passwd(5), group(5)).
const (
	passwd = "root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	group  = "root:x:0:\nnogroup:x:65534:\n"
)

// noHome is the home of users whom passwd does not list (github.com/moby/sys/user, GetExecUser).
const noHome = "/"

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// installerEnv makes well-known installers write into the tree rather than onto what they take for the machine.
func installerEnv() []string {
	return []string{
		"INSTALL_K3S_BIN_DIR=" + TreeDir + "/bin",
		"INSTALL_K3S_SKIP_ENABLE=true",
		"INSTALL_K3S_SKIP_START=true",
		"INSTALL_K3S_SYSTEMD_DIR=" + TreeDir + "/etc",
		"INSTALL_K3S_SKIP_SELINUX_RPM=true", // or it asks the package manager for one
		"INSTALL_K3S_SELINUX_WARN=true",
	}
}

// environ returns the environment of a command: defaults, then what the caller gave. inTree says that the tree is
// the root file system, home is the home of the user; "" leaves HOME out.
func environ(given []string, home string, inTree, haveCA bool) []string {
	env := variables{}
	if home != "" {
		env.set("HOME", home)
	}
	if !inTree {
		for _, kv := range installerEnv() {
			env.setPair(kv)
		}
	}
	if haveCA {
		env.set("SSL_CERT_FILE", CABundle)
		env.set("CURL_CA_BUNDLE", CABundle)
	}
	env.set("PATH", "")
	for _, kv := range given {
		env.setPair(kv)
	}
	env.set("PATH", searchPath(env.get("PATH"), inTree))
	return env
}

// searchPath puts the tree's bin directory first and, in the build sandbox, the machine's tools last, whatever an
// image's PATH says: that PATH is meant for hosts.
func searchPath(given string, inTree bool) string {
	switch {
	case inTree && given != "":
		return given
	case inTree:
		return systemPath
	case given != "" && given != systemPath:
		return TreeDir + "/bin:" + given + ":" + systemPath
	}
	return TreeDir + "/bin:" + systemPath
}

// variables is a list of K=V with one entry a name, in order of first mention.
type variables []string

func (v *variables) setPair(kv string) {
	name, value, _ := strings.Cut(kv, "=")
	v.set(name, value)
}

func (v *variables) set(name, value string) {
	for i, kv := range *v {
		if strings.HasPrefix(kv, name+"=") {
			(*v)[i] = name + "=" + value
			return
		}
	}
	*v = append(*v, name+"="+value)
}

func (v variables) get(name string) string {
	for _, kv := range v {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// hostLines turns host:ip and host=ip pairs into lines of /etc/hosts.
func hostLines(pairs []string) (string, error) {
	var lines strings.Builder
	for _, pair := range pairs {
		host, ip, ok := strings.Cut(pair, "=") // the form that IPv6 addresses made common
		if !ok {
			host, ip, ok = strings.Cut(pair, ":")
		}
		addr, err := netip.ParseAddr(strings.Trim(ip, "[]"))
		if !ok || host == "" || strings.ContainsAny(host, " \t\n#") || err != nil {
			return "", fmt.Errorf("add host %q: write it as name:address, such as registry.local:10.0.0.2", pair)
		}
		fmt.Fprintf(&lines, "%s\t%s\n", addr, host)
	}
	return lines.String(), nil
}

// workingDir returns where the command starts.
func workingDir(dir string, inTree bool) string {
	if inTree {
		return dir
	}
	return path.Join(TreeDir, dir)
}
