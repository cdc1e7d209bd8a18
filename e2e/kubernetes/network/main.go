// Command network connects the pods of a cluster whose hosts share one
// layer-2 segment. It runs once on every node, as a DaemonSet in the host's
// network: it writes the CNI configuration of its own node, routes the pods of
// every other node through that node's address, and masquerades what leaves
// the cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// settings is what the command line and the pod's environment say.
type settings struct {
	node     string         // this node's name
	clusters []netip.Prefix // the address ranges of all pods
	confDir  string         // where the container runtime looks for CNI configuration
	server   string         // the API server's URL; empty: the one in the pod's environment
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s, err := parse(os.Args[1:], os.Getenv("NODE_NAME"))
	if err == nil {
		err = run(ctx, s)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		slog.Error("network ends", "error", err)
		os.Exit(1)
	}
}

// parse reads the arguments; node is the node's name unless they name one.
func parse(args []string, node string) (settings, error) {
	s := settings{}
	set := flag.NewFlagSet("network", flag.ContinueOnError)
	set.StringVar(&s.node, "node", node, "name of this node")
	set.StringVar(&s.confDir, "conf-dir", "/etc/cni/net.d", "folder of the CNI configuration")
	set.StringVar(&s.server, "server", "", "URL of the API server (default: the Service of the cluster)")
	cidrs := set.String("cluster-cidr", "10.244.0.0/16", "address ranges of all pods, comma separated: traffic to them keeps its source")
	if err := set.Parse(args); err != nil {
		return s, err
	}
	if s.node == "" {
		return s, errors.New("no node name: pass -node or set NODE_NAME")
	}
	for _, c := range strings.Split(*cidrs, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(c))
		if err != nil {
			return s, fmt.Errorf("parse -cluster-cidr: %w", err)
		}
		s.clusters = append(s.clusters, p.Masked())
	}
	return s, nil
}

// run keeps this node's network as the cluster's Nodes want it, until ctx ends.
// Routes and configuration stay behind, so that pods keep their network while
// the daemon is replaced.
func run(ctx context.Context, s settings) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("read the pod's credentials: %w", err)
	}
	if s.server != "" {
		config.Host = s.server
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if err := forward(); err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	factory := informers.NewSharedInformerFactory(client, 10*time.Minute)
	nodes := factory.Core().V1().Nodes()
	_, err = nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(_, _ any) { notify() },
		DeleteFunc: func(any) { notify() },
	})
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), nodes.Informer().HasSynced) {
		return nil // asked to end before the API server answered
	}
	list := func() ([]*corev1.Node, error) { return nodes.Lister().List(labels.Everything()) }
	loop(ctx, s, list, changed)
	return nil
}

// loop applies the plan whenever something changed, and every 30 seconds in
// case somebody else changed the host; it tries a failed plan again after 2.
func loop(ctx context.Context, s settings, list func() ([]*corev1.Node, error), changed <-chan struct{}) {
	var last string
	for {
		wait := 30 * time.Second
		summary, err := reconcile(ctx, s, list)
		switch {
		case err != nil:
			slog.Warn("network is not as it should be, trying again", "error", err)
			wait = 2 * time.Second
		case summary != last:
			slog.Info("network is up", "plan", summary)
			last = summary
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(wait):
		}
	}
}

// reconcile makes this node's network fit the Nodes that list returns, and
// says in one line what it now is.
func reconcile(ctx context.Context, s settings, list func() ([]*corev1.Node, error)) (string, error) {
	nodes, err := list()
	if err != nil {
		return "", fmt.Errorf("list nodes: %w", err)
	}
	p, err := newPlan(s.node, s.clusters, nodes)
	if err != nil {
		return "", err
	}
	if err := applyRoutes(p.routes); err != nil {
		return "", err
	}
	if err := applyMasquerade(ctx, p.pods, s.clusters); err != nil {
		return "", err
	}
	// last: with this file the node becomes Ready
	if err := writeConflist(s.confDir, p.pods); err != nil {
		return "", err
	}
	return p.String(), nil
}
