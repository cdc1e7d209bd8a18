package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// kubelet is the part of k3s that every host has.
type kubelet struct {
	config   settings
	server   bool
	password string
	images   []string
}

// heartbeat is the word of a kubelet.
type heartbeat struct {
	Node     node
	Password string
	First    bool // the kubelet has just started, and may make its Node
}

// balancer keeps the servers that an agent has learned of.
const balancer = dataDir + "/agent/etc/k3s-agent-load-balancer.json"

// listen opens the kubelet's port.
func (k *kubelet) listen(ctx context.Context, port int) error {
	own, err := loadPair(agentDir + "/serving-kubelet")
	if err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(own.Cert, own.Key)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.NotFoundHandler(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, ReadHeaderTimeout: 10 * time.Second}
	go func() { logf("%v", srv.ServeTLS(l, "", "")) }()
	return nil
}

func (k *kubelet) word() heartbeat {
	n := node{Name: k.config.text("node-name"), IP: k.config.text("node-ip"), Version: Version, Role: "agent", Images: len(k.images), Labels: map[string]string{}, Taints: k.config.list("node-taint")}
	if k.server {
		n.Role = "server"
	}
	for _, l := range k.config.list("node-label") {
		key, value, _ := strings.Cut(l, "=")
		n.Labels[key] = value
	}
	return heartbeat{Node: n, Password: k.password, First: true}
}

// retryAfter is how long the servers are left alone when none answered.
const retryAfter = time.Second

// servers are those that an agent was told of and has learned of.
func (k *kubelet) servers() ([]string, error) {
	known := []string{k.config.text("server")}
	if known[0] == "" || k.config.token() == "" {
		return nil, errors.New("an agent needs server and token")
	}
	if raw, err := os.ReadFile(root(balancer)); err == nil {
		var more []string
		if err := json.Unmarshal(raw, &more); err != nil {
			return nil, err
		}
		known = append(known, more...)
	}
	return known, nil
}

// run says every second that the host lives. own is the server of the host
// itself; agents ask those that they know.
func (k *kubelet) run(ctx context.Context, own func() string) error {
	client, ask := newClient(), k.word()
	find := k.servers
	if own != nil {
		find = func() ([]string, error) { return []string{own()}, nil }
	}
	known, err := find()
	if err != nil {
		return err
	}
	token := k.config.token()
	for ctx.Err() == nil {
		urls, err := k.say(ctx, client, known, token, ask)
		var no *refusal
		switch {
		case err == nil:
			ask.First = false
			if own == nil && len(urls) > 0 {
				known = append([]string{k.config.text("server")}, urls...)
				raw, err := json.Marshal(urls)
				if err != nil {
					return err
				}
				if err := writeFile(balancer, 0o600, raw); err != nil {
					return err
				}
			}
		case errors.As(err, &no) && no.code != http.StatusServiceUnavailable && ask.First:
			return err // systemd tries again
		default:
			logf("%v", err)
		}
		pause(ctx, time.Second)
	}
	return nil
}

// say tells the first server that answers.
func (k *kubelet) say(ctx context.Context, client *http.Client, known []string, token string, ask heartbeat) (urls []string, err error) {
	var errs []error
	for _, url := range known {
		err := call(ctx, client, url+"/standin/node", token, ask, &urls)
		var no *refusal
		if err == nil || errors.As(err, &no) && no.code != http.StatusServiceUnavailable {
			return urls, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
