// Package docker knows how docker is installed on hosts out of a cluster image,
// how it gets container images, and how it goes again: what all distributions
// that can run on it have in common.
//
// The image brings the programs (cri/docker.tar.gz, in the form of the archives
// at https://download.docker.com/linux/static/stable/), the scripts that install
// and remove them, the unit and, if it likes, daemon.json. A docker that was on a
// host before is never touched: it is a finding of package preflight, a claimed
// path that is there, and an error of scripts/docker.sh.
package docker

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
)

// Name is what a Clusterfile calls docker as the runtime of hosts.
const Name = "docker"

// Unit is the service of docker, and UnitFile where it lies.
const (
	Unit     = "docker"
	UnitFile = "/etc/systemd/system/docker.service"
)

// What an image has for docker.
const (
	archive     = "cri/docker.tar.gz"
	install     = "scripts/docker.sh"
	uninstall   = "scripts/uninstall-docker.sh"
	imageUnit   = "etc/docker.service"
	imageDaemon = "etc/daemon.json"
	libs        = "lib"
)

const (
	program = "/usr/local/bin/docker"
	socket  = "/run/docker.sock"
	// DefaultData is where docker keeps images and containers unless it is told
	// another place.
	DefaultData = "/var/lib/docker"
)

// Chosen reports whether the hosts of a cluster run on docker.
func Chosen(c *runtime.Cluster) bool { return c.Runtime == Name }

// Command is the command on a host that asks the docker of that host, whatever
// its user has set for another one.
func Command(args ...string) []string {
	return append([]string{program, "--host", "unix://" + socket}, args...)
}

// Check says what the image lacks for docker, or what in it cannot be used.
func Check(c *runtime.Cluster) error {
	i := c.Image()
	if i.Files == nil {
		return nil // it is not at hand: a cluster was made of it
	}
	var lacks []string
	for _, need := range []struct{ path, what string }{
		{archive, "docker's archive of static programs"},
		{install, "the script that installs it"},
		{uninstall, "the script that removes it"},
		{imageUnit, "the unit that runs it"},
	} {
		if !slices.Contains(i.Paths, need.path) && !slices.Contains(i.Paths, need.path+runtime.TemplateSuffix) {
			lacks = append(lacks, need.path+" ("+need.what+")")
		}
	}
	if len(lacks) > 0 {
		return fmt.Errorf("runtime: docker, and the image lacks %s: put them into the image, as the large layout of distros/k3s/image has them, or take runtime: containerd", strings.Join(lacks, ", "))
	}
	for _, script := range scripts(i) {
		if !slices.Contains(i.Programs, script) {
			return fmt.Errorf("%s is not executable: chmod +x it and build the image again", script)
		}
	}
	return checkData(c)
}

// scripts are all of the image that run on hosts because of docker.
func scripts(i runtime.Image) []string {
	return slices.Concat(libraries(i, "install_"), []string{install, uninstall}, libraries(i, "uninstall_"))
}

// libraries are the scripts of lib/ that install, or remove, what docker needs, in
// name order.
func libraries(i runtime.Image, prefix string) []string {
	var out []string
	for _, name := range i.In(libs) {
		if strings.HasPrefix(name, prefix) && strings.HasSuffix(name, ".sh") {
			out = append(out, libs+"/"+name)
		}
	}
	return out
}

// checkData refuses hosts that keep docker's data in different places, which is
// known for all of them or for none.
func checkData(c *runtime.Cluster) error {
	var first string
	for n, m := range c.Members {
		dir, err := dataOn(c, m)
		if err != nil {
			return err
		}
		if n == 0 {
			first = dir
		}
		if dir != first {
			return fmt.Errorf("%s: data-root is %s on %s and %s on %s: it has to be one place on all hosts", imageDaemon, first, c.Members[0].Name(), dir, m.Name())
		}
	}
	return nil
}

// Data is where docker keeps images and containers on the hosts.
func Data(c *runtime.Cluster) string {
	if len(c.Members) > 0 {
		if dir, err := dataOn(c, c.Members[0]); err == nil { // Check says why not
			return dir
		}
	}
	return DefaultData
}

// ConfigFiles are those that an image may have docker's settings in.
func ConfigFiles() []string { return []string{imageDaemon, imageUnit} }

// file returns one of these for a member, "" where the image has none.
func file(c *runtime.Cluster, m runtime.Member, name string) (string, error) {
	if !c.Image().Configurable() {
		return "", nil
	}
	raw, err := c.ConfigFile(name, m)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(raw), err
}

// listed returns names as docker lists them: without docker.io and library.
func listed(names []string) []string {
	var out []string
	for _, name := range names {
		if ref, err := artifact.ParseReference(name); err == nil {
			name = ref.Familiar()
		}
		out = append(out, name)
	}
	return out
}
