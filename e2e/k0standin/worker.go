package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// known is what a worker has when it has joined.
type known struct {
	Server, Secret string
	Others         []string // other controllers that its load balancer has learned of
}

func readKnown() (known, error) {
	var k known
	raw, err := os.ReadFile(root(kubeletFor))
	if err != nil {
		return k, err
	}
	return k, json.Unmarshal(raw, &k)
}

func (k known) save() error {
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return writeFile(kubeletFor, 0o600, raw)
}

// worker runs a worker until the context ends.
func worker(ctx context.Context, a *arguments) error {
	runs, err := begin("worker")
	if err != nil {
		return err
	}
	defer runs.file.Close() // until then it has the lock
	if err := errors.Join(defaultRoute(), footprints(ctx)); err != nil {
		return err
	}
	name, err := hostname()
	if err != nil {
		return err
	}
	k, err := readKnown()
	if errors.Is(err, os.ErrNotExist) {
		k, err = joinWorker(ctx, a, name)
	}
	if err != nil {
		return err
	}
	n, err := describe(a, name, "")
	if err != nil {
		return err
	}
	fatal := make(chan error, 4)
	if err := listenKubelet(ctx, n, fatal); err != nil {
		return err
	}
	if err := runs.ready(); err != nil {
		return err
	}
	go func() { fatal <- watchImages(ctx) }()
	go func() { fatal <- beat(ctx, n, k.Secret, k) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-fatal:
		return err
	}
}

// joinWorker trades the token for what the worker is known by.
func joinWorker(ctx context.Context, a *arguments, name string) (known, error) {
	file := a.flag("token-file")
	if file == "" {
		return known{}, errors.New("neither regular nor bootstrap kubeconfig files exist and no join token given; dunno how to make kubelet authenticate to API server")
	}
	url, secret, err := readToken(file, workerUser)
	if err != nil {
		return known{}, err
	}
	k := known{Server: url}
	if err := call(ctx, newClient(), url+"/bootstrap", secret, name, &k.Secret); err != nil {
		return k, fmt.Errorf("failed to bootstrap kubelet client configuration: %w", err)
	}
	return k, k.save()
}

// describe says what the node is, with the images that are there.
func describe(a *arguments, name, pullPolicy string) (node, error) {
	names, err := takeIn()
	if err != nil {
		return node{}, err
	}
	_, address, ok := strings.Cut(a.flag("kubelet-extra-args"), "--node-ip=")
	if !ok {
		return node{}, errors.New("kubelet-extra-args says no --node-ip")
	}
	address, _, _ = strings.Cut(strings.Fields(address)[0], ",")
	n := node{Name: name, Address: address, Version: Version, Images: len(names), Labels: map[string]string{}, Never: pullPolicy != "IfNotPresent"}
	for _, l := range strings.FieldsFunc(a.flag("labels"), func(r rune) bool { return r == ',' }) {
		key, value, _ := strings.Cut(l, "=")
		n.Labels[key] = value
	}
	n.Taints = strings.FieldsFunc(a.flag("taints"), func(r rune) bool { return r == ',' })
	return n, nil
}

// kubelet is the worker in a controller.
func (s *server) kubelet(ctx context.Context) error {
	n, err := describe(s.args, s.name, s.config.Spec.Images.DefaultPullPolicy)
	if err != nil {
		return err
	}
	n.Controller = true
	if s.args.flag("no-taints") == "" && s.args.flag("single") == "" {
		n.Taints = append(n.Taints, "node-role.kubernetes.io/control-plane:NoSchedule")
	}
	if err := listenKubelet(ctx, n, s.fatal); err != nil {
		return err
	}
	go func() { s.fatal <- watchImages(ctx) }()
	return beat(ctx, n, s.current().Peer, known{Server: apiURL(s.config.Spec.API.Address)})
}

// beat says every second that the host lives, to the first controller that
// answers.
func beat(ctx context.Context, n node, secret string, k known) error {
	client := newClient()
	for first := true; ctx.Err() == nil; pause(ctx, time.Second) {
		var urls []string
		err := errors.New("no controller is known")
		for _, url := range append([]string{k.Server}, k.Others...) {
			if err = call(ctx, client, url+"/node", secret, n, &urls); err == nil {
				break
			}
			var no *refusal
			if errors.As(err, &no) && no.code != http.StatusServiceUnavailable {
				break
			}
		}
		var no *refusal
		switch {
		case err == nil:
			first = false
			if !n.Controller && len(urls) > 0 && !slices.Equal(urls, k.Others) {
				k.Others = urls
				if err := k.save(); err != nil {
					return err
				}
			}
		case first && errors.As(err, &no) && no.code != http.StatusServiceUnavailable:
			return err // systemd tries again
		case ctx.Err() == nil:
			logf("%v", err)
		}
	}
	return nil
}

// defaultRoute demands a route to 0.0.0.0/0 (proc_pid_net(5): the second column is
// the destination).
func defaultRoute() error {
	f, err := os.Open("/proc/net/route")
	if err != nil || os.Getenv("STANDIN_ROOT") != "" {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 7 && fields[1] == "00000000" && fields[7] == "00000000" {
			return nil
		}
	}
	return errors.New("no default route found (R8)")
}

// footprints leaves on the host what k0s would. Tools that the host does not have
// leave nothing.
func footprints(ctx context.Context) error {
	for file, text := range map[string]string{
		"/etc/cni/net.d/10-kuberouter.conflist": "{}\n", "/opt/cni/bin/bridge": "", dataDir + "/bin/containerd": "", dataDir + "/kubelet/cpu_manager_state": "{}\n",
		"/run/k0s/containerd/state": "", "/run/containerd/s/shim": "", "/var/log/pods/kube-system/log": "",
	} {
		if err := writeFile(file, 0o600, []byte(text)); err != nil {
			return err
		}
	}
	if os.Getenv("STANDIN_ROOT") != "" {
		return nil
	}
	for file, value := range map[string]string{"vm/overcommit_memory": "1", "kernel/panic": "10", "net/ipv4/conf/all/forwarding": "1"} {
		if err := os.WriteFile("/proc/sys/"+file, []byte(value+"\n"), 0o644); err != nil {
			logf("set a parameter of the kernel: %v", err)
		}
	}
	for _, argv := range [][]string{
		{"ip", "link", "add", "kube-bridge", "type", "bridge"},
		{"iptables", "-t", "nat", "-N", "KUBE-SERVICES"},
		{"iptables", "-t", "nat", "-A", "OUTPUT", "-j", "KUBE-SERVICES"},
		{"nft", "add", "table", "ip", "kube-proxy"},
	} {
		// they are there already after a restart
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			logf("%v: %v: %s", argv, err, out)
		}
	}
	return nil
}
