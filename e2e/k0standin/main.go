// Program k0standin behaves outwardly as k0s does, and refuses what k0s refuses,
// without running a single container: a test installs it as bin/k0s of a cluster
// image and learns within seconds whether the life of a cluster is led as the
// rules of k0s ask.
//
// What it checks, and refuses with a sentence and exit 1 (which systemd repeats,
// so that the host never becomes Ready):
//
//   - k0s.yaml is a ClusterConfig, its addresses are the host's, and all
//     controllers are told the same but for these (R2)
//   - `install` finds no unit, or is forced; `start` and the unit run what it wrote
//   - a token is made with an expiry, and is good for one role, until it ends or
//     is invalidated (R14); a host that joined needs none
//   - a controller joins while all others are Ready and members (R4); none joins a
//     `--single` one, nor is a token made there
//   - the API answers while a majority of the members lives, else 503
//   - every file in the images directory is a whole archive that is not
//     compressed, whenever one looks (R7); `ctr images ls -q` lists what was read
//     (R25); with the pull policy Never a node without images is not Ready
//   - there is a default route (R8)
//   - controllers go on by one minor version at most, and only after a backup was
//     made with the old one (R9, R10); a worker is at most three behind, and never
//     ahead
//   - a controller that stops without having left is still a member; one that was
//     removed stops, and does not come back with its old data (R12)
//   - a kubelet without a certificate turns everybody away for some seconds, though
//     its node is Ready
//   - certificates but the CA are made anew whenever a controller starts (R16)
//   - `reset` runs where k0s is stopped, and takes users, unit and data away, not
//     /etc/k0s; `restore` runs where k0s is stopped and there is no data (R24)
//   - nodes know other controllers than the one that they joined only with
//     node-local load balancing, or behind an external address
//
// What it leaves on a host: the unit, the users etcd and kube-apiserver in
// /etc/passwd, /etc/k0s, /var/lib/k0s, /run/k0s, /run/containerd, /etc/cni/net.d,
// /opt/cni/bin, the
// link kube-bridge, the chain KUBE-SERVICES and the nft table kube-proxy; it
// listens on 6443, 9443, 8132, 2380 and 10250, and on 2379 of the loopback.
//
// The controllers keep one JSON document each. The lowest living member leads:
// all requests go to it, and a change counts when a majority has it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// Version is the release that this build plays; the linker sets it.
var Version = "v1.34.2+k0s.0" //nolint:gochecknoglobals // set by the linker

// Places of k0s.
const (
	dataDir    = "/var/lib/k0s"
	pkiDir     = dataDir + "/pki"
	imagesDir  = dataDir + "/images"
	stateFile  = dataDir + "/etcd/member/snap/db"
	kubeletFor = dataDir + "/kubelet.conf" // a node that has joined has it
	adminConf  = pkiDir + "/admin.conf"
	statusFile = "/run/k0s/status"
)

// root is put before every path of the host, for tests.
func root(path string) string { return filepath.Join(os.Getenv("STANDIN_ROOT"), path) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // this is main
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("k0s: a command is missing")
	}
	command, rest := args[0], args[1:]
	if len(rest) > 0 {
		if do, ok := map[string]func(*arguments) error{
			"config validate": func(a *arguments) error { return validate(a.flag("config")) },
			"token create":    func(a *arguments) error { return createToken(ctx, a) },
			"token invalidate": func(a *arguments) error {
				return invalidate(ctx, a.words)
			},
			"token list":         func(a *arguments) error { return listTokens(a.flag("role")) },
			"etcd member-list":   func(*arguments) error { return memberList() },
			"airgap list-images": func(*arguments) error { return listImages() },
		}[command+" "+rest[0]]; ok {
			return do(parse(rest[1:]))
		}
	}
	switch command {
	case "version", "--version":
		fmt.Println(Version)
		return nil
	case "kubectl":
		return kubectl(ctx, rest)
	case "ctr":
		return ctr(rest)
	}
	a := parse(rest)
	switch command {
	case "install":
		return install(ctx, a)
	case "controller":
		return controller(ctx, a)
	case "worker":
		return worker(ctx, a)
	case "status":
		return status()
	case "reset":
		return reset(ctx, a)
	case "backup":
		return backup(ctx, a)
	case "restore":
		return restore(a)
	}
	return fmt.Errorf("k0s: unknown command %q", strings.Join(args, " "))
}

// arguments are those of a command: words, and flags as they were given.
type arguments struct {
	words []string
	flags map[string]string
	given []string // the flags, in order, --NAME=VALUE
}

// lone are the flags without a value.
var lone = []string{"force", "enable-worker", "no-taints", "single", "all"} //nolint:gochecknoglobals // a table that nothing changes

func parse(args []string) *arguments {
	a := &arguments{flags: map[string]string{}}
	for i := 0; i < len(args); i++ {
		name, dashed := strings.CutPrefix(args[i], "--")
		if !dashed {
			a.words = append(a.words, args[i])
			continue
		}
		name, value, given := strings.Cut(name, "=")
		switch {
		case given:
		case contains(lone, name):
			value = "true"
		case i+1 < len(args):
			i++
			value = args[i]
		}
		a.flags[name] = value
		a.given = append(a.given, "--"+name+"="+value)
	}
	return a
}

func (a *arguments) flag(name string) string { return a.flags[name] }

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
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
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
