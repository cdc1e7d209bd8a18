// Program standin behaves outwardly as k3s does, and refuses what k3s refuses,
// without running a single container: a test installs it as bin/k3s of a
// cluster image and learns within seconds whether the life of a cluster is led
// as the rules of k3s ask.
//
// What it checks, and refuses with a sentence and exit 1 (which systemd
// repeats, so that the host never becomes Ready):
//
//   - the command is `server` or `agent` and nothing else: settings are in
//     config.yaml and config.yaml.d, and each of them is one that k3s knows (R3)
//   - the first server is given a short token, no K10 one (R1); a server joins
//     with the server token, an agent with the agent token and not with the
//     server's (R6)
//   - servers agree in their critical settings (R2)
//   - a server joins while all others are Ready and voting (R4); a cluster on
//     SQLite takes no further server; an even number of servers is a warning in
//     the log (R5)
//   - the API answers while a majority of the voting members lives, else 503
//   - every archive in agent/images is whole and of a kind that k3s reads (R7);
//     `ctr images ls -q` lists what was read (R25); .cache.json is there only
//     where images keep their pin with it
//   - with docker: true, docker answers; no archive is read and ctr knows no image
//   - there is a default route (R8)
//   - in a dual stack every node has an address of each family, that of the pods
//     first; servers that share a datastore are told no other server and no
//     cluster-init, with one token, and leave nothing in server/db that matters
//   - everything lies below data-dir, by which all commands find it
//   - an agent is not newer than any server, no minor version is left out and
//     none is gone back to; servers on etcd move to another version only after
//     a snapshot was made with the old one (R9)
//   - a server that was removed does not come back with its old data, and stops
//     when it sees that it was (R12); a name that is taken by another machine,
//     by its node password, is refused until the Node was deleted (R13)
//   - certificates are rotated while the service is stopped (R16); an agent that
//     starts before the servers did gets its old ones again; new CAs are vouched
//     for by the old ones, count when the servers start again, and are refused
//     before v1.25.7 and v1.26.2
//   - a snapshot is put back, by --cluster-reset, where no server runs, with the
//     token that opens it (R24), and once until the server has started; a server
//     with the data of before does not join the cluster that was reset (R13), and
//     none starts beside CAs that are newer than its data
//
// Which rule has which test beside this is in distros/k3s/README.md.
//
// What it leaves on a host: /etc/rancher/node/password, /etc/rancher/k3s/k3s.yaml,
// /var/lib/rancher/k3s, /var/lib/kubelet, /var/lib/cni, /run/k3s, /run/flannel,
// the link cni0, the chain KUBE-SERVICES and the nft table kube-proxy; it listens
// on 6443, 10250, 2379 and 2380.
//
// The servers keep one JSON document each. The lowest living member leads: all
// requests go to it, and a change counts when a majority has it.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"sigs.k8s.io/yaml"
)

// Version is the release that this build plays; the linker sets it.
var Version = "v1.25.3+k3s1" //nolint:gochecknoglobals // set by the linker

// root is put before every path of the host, for tests.
func root(path string) string {
	if below, ok := strings.CutPrefix(path, dataDir); ok && dataPlace != "" {
		path = dataPlace + below
	}
	return filepath.Join(os.Getenv("STANDIN_ROOT"), path)
}

// dataPlace is where the data is if data-dir says another place than dataDir.
var dataPlace string //nolint:gochecknoglobals // set when the program starts

const (
	configDir = "/etc/rancher/k3s"
	dataDir   = "/var/lib/rancher/k3s"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // this is main
	args := os.Args[1:]
	if name := filepath.Base(os.Args[0]); slices.Contains([]string{"kubectl", "crictl", "ctr"}, name) { // a link that is called so
		args = append([]string{name}, args...)
	}
	err := run(ctx, args)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("k3s: a command is missing")
	}
	if err := placeData(); err != nil {
		return err
	}
	switch args[0] {
	case "--version", "-v":
		fmt.Printf("k3s version %s (standin)\ngo version go1.26\n", Version)
		return nil
	case "server", "agent":
		if path, yes := resets(args[1:]); yes && args[0] == "server" {
			config, err := readConfig(true)
			if err != nil {
				return err
			}
			return clusterReset(config, path)
		}
		if len(args) > 1 {
			return fmt.Errorf("the command has %q: settings belong into config.yaml (R3)", args[1:])
		}
		return serve(ctx, args[0] == "server")
	case "kubectl":
		return kubectl(ctx, args[1:])
	case "ctr":
		return ctr(args[1:])
	case "certificate":
		return certificate(ctx, args[1:])
	case "etcd-snapshot":
		return snapshot(ctx, args[1:])
	}
	return fmt.Errorf("k3s: no command %q", args[0])
}

// placeData finds out where the data is: data-dir of config.yaml, which all
// commands of k3s read.
func placeData() error {
	raw, err := os.ReadFile(root(configDir + "/config.yaml"))
	if err != nil {
		return nil //nolint:nilerr // commands that need it say so
	}
	said := settings{}
	if err := yaml.Unmarshal(raw, &said); err != nil {
		return fmt.Errorf("%s/config.yaml: %w", configDir, err)
	}
	dataPlace = said.text("data-dir")
	if dataPlace != "" && !filepath.IsAbs(dataPlace) {
		return fmt.Errorf("data-dir %q is no absolute path", dataPlace)
	}
	return nil
}

// serve runs a server or an agent until the context ends.
func serve(ctx context.Context, server bool) error {
	config, err := readConfig(server)
	if err != nil {
		return err
	}
	if server {
		for _, check := range []func(settings) error{checkDatastore, checkFamilies} {
			if err := check(config); err != nil {
				return err
			}
		}
	}
	held, err := lock()
	if err != nil {
		return err
	}
	defer held.Close()
	if err := defaultRoute(); err != nil {
		return err
	}
	password, err := nodePassword()
	if err != nil {
		return err
	}
	images, err := takeImages(ctx, config)
	if err != nil {
		return err
	}
	if err := footprints(ctx, config.text("docker") == "true"); err != nil {
		return err
	}
	k := &kubelet{config: config, server: server, password: password, images: images}
	if server {
		return serveAPI(ctx, config, k)
	}
	if err := k.obtain(ctx); err != nil || ctx.Err() != nil {
		return err // systemd tries again
	}
	if err := k.listen(ctx, 10250); err != nil {
		return err
	}
	return k.run(ctx, nil)
}

// defaultRoute demands a route to 0.0.0.0/0, without which k3s does not start
// (proc_pid_net(5): the second column is the destination).
func defaultRoute() error {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 7 && fields[1] == "00000000" && fields[7] == "00000000" {
			return nil
		}
	}
	return fmt.Errorf("no default route found: k3s does not start without one (R8)")
}

// logf tells the journal.
func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// writeFile writes a file whole or not at all.
func writeFile(path string, mode os.FileMode, data []byte) error {
	path = root(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if c := f.Close(); err == nil {
		err = c
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
