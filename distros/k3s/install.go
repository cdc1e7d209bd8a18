package k3s

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

// Where k3s' installation puts programs and scripts, and their names
// (https://docs.k3s.io/installation/uninstall).
const (
	binDir = "/usr/local/bin"
	killer = "k3s-killall.sh"
	// installed is what runs the script of the image.
	installed = "install"
	// scriptName is what the script is called in an image, at its root or in
	// scripts/, and scriptPlace where it is kept on a host.
	scriptName  = "k3s-install.sh"
	scriptPlace = kept
)

//go:embed hostfiles/killall.sh
var killallScript string

//go:embed hostfiles/uninstall.sh
var uninstallScript string

// uninstaller is the script that uninstalls k3s from a host.
func uninstaller(m runtime.Member) string { return unit(m.Role) + "-uninstall.sh" }

// installScript returns where the image has the script that installs it; false
// where it has none.
func installScript(i runtime.Image) (string, bool) {
	for _, p := range []string{scriptName, "scripts/" + scriptName} {
		if slices.Contains(i.Paths, p) {
			return p, true
		}
	}
	return "", false
}

// serviceSteps make the service of k3s, which the driver starts itself, with the
// scripts and names that k3s' documentation tells of: by the script of the image
// where it has one.
func serviceSteps(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	environment := runtime.Step{ID: "environment", Do: runtime.Write{Path: envPath(m), Data: envFile(c, m), Mode: 0o600, Secret: true}}
	script, has := installScript(c.Image())
	if !has {
		steps := []runtime.Step{
			environment,
			{ID: "unit", Do: runtime.Write{Path: unitPath(m), Data: unitFile(m), Mode: unitMode(m)}},
			{ID: killer, Do: runtime.Write{Path: path.Join(binDir, killer), Data: hostScript(c, m, killallScript), Mode: 0o755}},
			{ID: uninstaller(m), Do: runtime.Write{Path: path.Join(binDir, uninstaller(m)), Data: hostScript(c, m, uninstallScript), Mode: 0o755}},
		}
		return append(steps, links(c)...)
	}
	// the script leaves the file of variables as good as empty
	environment.After = installed
	return append([]runtime.Step{
		{ID: "install script", Do: runtime.Install{Rootfs: c.Image().Rootfs(), From: path.Dir(script), Names: []string{scriptName}, To: scriptPlace}},
		{ID: installed, Again: true, Do: runScriptOf(c, m, script)},
		environment,
	}, links(c)...)
}

// runScriptOf installs with the image's script. It has nothing to fetch and
// nothing to start, no setting but that of the role, and no variable of who is
// logged in, since it keeps proxies and all that begins with K3S_
// (https://docs.k3s.io/installation/airgap, https://docs.k3s.io/reference/env-variables).
// It runs again when its text is another.
func runScriptOf(c *runtime.Cluster, m runtime.Member, script string) runtime.Exec {
	return runtime.Exec{
		Argv: []string{
			"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
			"INSTALL_K3S_SKIP_DOWNLOAD=true", "INSTALL_K3S_SKIP_SELINUX_RPM=true", "INSTALL_K3S_SKIP_START=true",
			"INSTALL_K3S_BIN_DIR=" + binDir, "INSTALL_K3S_SYMLINK=skip", "INSTALL_K3S_TYPE=" + serviceType(m), "INSTALL_K3S_EXEC=" + command(m),
			"sh", path.Join(scriptPlace, scriptName),
		},
		Env:     []string{"SEALRT_SCRIPT=" + scriptDigest(c.Image(), script)},
		Makes:   []string{unitPath(m), envPath(m), path.Join(binDir, killer), path.Join(binDir, uninstaller(m))},
		Timeout: readyTimeout,
	}
}

// scriptDigest tells one text of the script from another; where it is a link, one
// image from another.
func scriptDigest(i runtime.Image, script string) string {
	if i.Files != nil {
		if text, err := fs.ReadFile(i.Files, script); err == nil {
			sum := sha256.Sum256(text)
			return hex.EncodeToString(sum[:])
		}
	}
	return i.Digest
}

// serviceType is how systemd learns that k3s is up. A server says so. An agent may
// never, though its node is Ready: then its service would start for ever.
func serviceType(m runtime.Member) string {
	return runtime.ByRole(m.Role, "notify", "exec")
}

// command is what k3s is to be on a host.
func command(m runtime.Member) string {
	return runtime.ByRole(m.Role, "server", "agent")
}

// unitText is the unit as far as it is sealrt's: what the image's script writes
// goes with the image.
func unitText(c *runtime.Cluster, m runtime.Member) string {
	if _, has := installScript(c.Image()); has {
		return ""
	}
	return unitFile(m)
}

// sideEffects are paths that the image's script may make, a service that starts
// at boot, and OpenRC.
func sideEffects(c *runtime.Cluster, m runtime.Member) []string {
	if m.Init == runtime.OpenRC {
		return openrcSideEffects(unit(m.Role))
	}
	if _, has := installScript(c.Image()); !has {
		return nil
	}
	return []string{"/etc/systemd/system/multi-user.target.wants/" + unit(m.Role) + ".service"}
}

// links give the programs that are part of k3s their names, as its installation
// does, where the host has no program of that name and the image brings none.
func links(c *runtime.Cluster) []runtime.Step {
	var steps []runtime.Step
	for _, name := range []string{"kubectl", "crictl", "ctr"} {
		if slices.Contains(c.Image().In("bin"), name) {
			continue
		}
		var unless []string
		for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/bin", "/snap/bin"} {
			unless = append(unless, path.Join(dir, name))
		}
		steps = append(steps, runtime.Step{ID: "link " + name, Do: runtime.Link{Path: path.Join(binDir, name), To: "k3s", Unless: unless}})
	}
	return steps
}

// kubeletOf is where the kubelet has its data.
func kubeletOf(c *runtime.Cluster) string {
	if c.DataDir.Kubelet != "" {
		return c.DataDir.Kubelet
	}
	return kubeletDir
}

// hostScript fills in a script of ours.
func hostScript(c *runtime.Cluster, m runtime.Member, text string) string {
	return strings.NewReplacer(
		"@BIN@", binDir, "@UNIT@", unit(m.Role), "@SERVICE@", unitPath(m), "@ENV@", envPath(m),
		"@DATA@", stateDir(c), "@KUBELET@", kubeletOf(c),
	).Replace(text)
}
