package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
)

// footprints leaves on the host what k3s would. Tools that the host does not
// have leave nothing.
func footprints(ctx context.Context, docker bool) error {
	for _, dir := range []string{"/run/k3s/containerd", "/run/containerd/s", "/run/containerd/runc/k8s.io", "/run/nri", "/var/lib/kubelet/pods", "/var/log/pods", "/var/log/containers", "/var/lib/cni/networks/cbr0"} {
		if err := os.MkdirAll(root(dir), 0o755); err != nil {
			return err
		}
	}
	if err := writeFile("/run/flannel/subnet.env", 0o644, []byte("FLANNEL_NETWORK=10.42.0.0/16\n")); err != nil {
		return err
	}
	if err := writeFile("/var/lib/kubelet/cpu_manager_state", 0o600, []byte("{}\n")); err != nil {
		return err
	}
	if os.Getenv("STANDIN_ROOT") != "" {
		return nil
	}
	for file, value := range map[string]string{"vm/overcommit_memory": "1", "kernel/panic": "10", "net/ipv4/conf/all/forwarding": "1", "net/ipv6/conf/all/forwarding": "1"} {
		if err := os.WriteFile("/proc/sys/"+file, []byte(value+"\n"), 0o644); err != nil {
			logf("set a parameter of the kernel: %v", err)
		}
	}
	for _, argv := range [][]string{
		{"ip", "link", "add", "cni0", "type", "bridge"},
		{"iptables", "-t", "nat", "-N", "KUBE-SERVICES"},
		{"iptables", "-t", "nat", "-A", "OUTPUT", "-j", "KUBE-SERVICES"},
		{"iptables", "-A", "FORWARD", "-m", "comment", "--comment", "KUBE-ROUTER rule to accept what policies allow", "-m", "mark", "--mark", "0x20000/0x20000", "-j", "ACCEPT"},
		{"nft", "add", "table", "ip", "kube-proxy"},
	} {
		attempt(ctx, argv...)
	}
	if docker {
		return nil // pods are docker's
	}
	return pod(ctx)
}

// pod leaves what containerd does for a pod: a network namespace, mounted on a file
// alone, and processes that are not in the control group of the service, whose unit is
// gone when they are.
func pod(ctx context.Context) error {
	const namespace = "/run/netns/cni-5f0c9d1e-0000-4000-8000-000000000001"
	if _, err := os.Stat(namespace); errors.Is(err, fs.ErrNotExist) {
		if err := writeFile(namespace, 0o444, nil); err != nil {
			return err
		}
		attempt(ctx, "unshare", "--net="+namespace, "true")
	}
	attempt(ctx, "systemd-run", "--collect", "--slice=kubepods-besteffort.slice", "--unit=cri-containerd-standin", "sleep", "infinity")
	return nil
}

// attempt makes what may be there already after a restart, with a tool that the host may
// not have.
func attempt(ctx context.Context, argv ...string) {
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		logf("%v: %v: %s", argv, err, out)
	}
}

// notify tells systemd that the service is up (sd_notify(3)).
func notify() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if path[0] == '@' {
		path = "\x00" + path[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte("READY=1"))
	return errors.Join(err, conn.Close())
}
