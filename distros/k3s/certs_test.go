package k3s_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

func TestCertificatesOfServersAndAgentsAreFound(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	server, agent := k3s.Driver{}.Certificates(c, c.Members[0]), k3s.Driver{}.Certificates(c, c.Members[3])
	var text []string
	for _, e := range append(server.Endpoints, agent.Endpoints...) {
		text = append(text, e.Name+" "+e.Address+" "+e.File[strings.LastIndex(e.File, "/")+1:]+" "+e.If)
	}
	want := []string{
		"API 10.0.0.1:6443 dynamic-cert.json ", "kubelet 10.0.0.1:10250 serving-kubelet.crt ",
		"etcd 10.0.0.1:2379 server-client.crt /var/lib/rancher/k3s/server/db/etcd/member", "etcd-peer 10.0.0.1:2380 peer-server-client.crt /var/lib/rancher/k3s/server/db/etcd/member",
		"kubelet 10.0.0.4:10250 serving-kubelet.crt ",
	}
	if !slices.Equal(text, want) {
		t.Errorf("endpoints are %q", text)
	}
	if slices.ContainsFunc(agent.Files, func(f string) bool { return strings.Contains(f, "server") }) || !slices.Contains(server.Files, "/etc/rancher/k3s/k3s.yaml") {
		t.Errorf("files are %q and %q", server.Files, agent.Files)
	}
}

func TestCAsAreRotatedByVersionsThatCan(t *testing.T) {
	for version, can := range map[string]bool{
		"v1.24.17+k3s1": false, "v1.25.3+k3s1": false, "v1.25.6+k3s9": false, "v1.25.7+k3s1": true, "v1.26.0+k3s1": false, "v1.26.1+k3s1": false, "v1.26.2+k3s1": true,
		"v1.27.1+k3s1": true, "v1.33.0+k3s1": true, "v2.0.0+k3s1": true,
	} {
		c := cluster(version, "")
		steps, err := k3s.Driver{}.RotateCA(c, runtime.Renewal{ID: "1"})
		if can != (err == nil) || can != (len(steps) > 0) {
			t.Errorf("%s: %d steps, %v", version, len(steps), err)
		}
		if err != nil && (!strings.Contains(err.Error(), version) || !strings.Contains(err.Error(), "v1.25.7, v1.26.2 and later")) {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestNamesThatADocumentOfK3sHidesAreRefused(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	c.TLSSANs = []string{"a.example.com"}
	steps, err := k3s.Driver{}.AddNames(c, c.Members[0])
	if text := files(t, steps, err)["/etc/rancher/k3s/config.yaml"]; !strings.Contains(text, "- a.example.com") || steps[len(steps)-1].ID != "service k3s" {
		t.Errorf("%v, %s", steps, text)
	}
	c.Others = []clusterfile.Other{{Line: 9, Raw: "tls-san: [b.example.com]\n"}}
	if _, err := (k3s.Driver{}).AddNames(c, c.Members[0]); err == nil || !strings.Contains(err.Error(), "lacks a.example.com") {
		t.Error(err)
	}
}

// machine is a host on which k3s has to be stopped before its certificates are
// rotated.
//
// The first rotation on a host that is to fail does.
func machine(m runtime.Member, story *[]string, fails bool) *hosttest.Host {
	h := hosttest.New(m.Address)
	h.WriteFile(runtime.HelperPath, 0o755, []byte("program"))
	runs := true
	for _, verb := range []string{"stop", "start", "restart"} {
		h.Serve([]string{"systemctl", verb}, func(_ context.Context, c host.Command) error {
			runs = verb != "stop"
			*story = append(*story, m.Address+" "+strings.Join(c.Argv[1:], " "))
			return nil
		})
	}
	h.Serve([]string{"/usr/local/bin/k3s", "certificate", "rotate"}, func(context.Context, host.Command) error {
		*story = append(*story, m.Address+" rotate")
		switch {
		case runs:
			return &host.ExitError{Code: 1, Stderr: "k3s runs"}
		case fails:
			fails = false
			return &host.ExitError{Code: 1, Stderr: "disk full"}
		}
		return nil
	})
	h.Respond([]string{"/usr/local/bin/k3s", "kubectl"}, "ok", 0)
	h.Respond([]string{runtime.HelperPath, "host"}, "", 0)
	return h
}

func TestServersAreStoppedForTheirCertificatesOneAfterAnotherAndAgentsRestartedAfterThem(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	life, err := runtime.New(c, k3s.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	var story []string
	open := map[string]host.Host{}
	for _, m := range c.Members {
		open[m.Address] = machine(m, &story, m.Address == "10.0.0.3")
	}
	run := func(id string) error {
		plan, err := life.UpdateCert(runtime.Renewal{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		engine := &runtime.Engine{Cluster: c.Name, Hosts: open, Helper: func(string, string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("program")), nil
		}}
		return engine.Run(t.Context(), plan)
	}
	if err := run("1"); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatal(err)
	}
	first := []string{"10.0.0.2 stop k3s", "10.0.0.2 rotate", "10.0.0.2 start k3s", "10.0.0.3 stop k3s", "10.0.0.3 rotate"}
	if !slices.Equal(story, first) {
		t.Errorf("story is %q", story)
	}
	story = nil
	if err := run("1"); err != nil {
		t.Fatal(err)
	}
	rest := []string{
		"10.0.0.3 stop k3s", "10.0.0.3 rotate", "10.0.0.3 start k3s", "10.0.0.1 stop k3s", "10.0.0.1 rotate", "10.0.0.1 start k3s", "10.0.0.4 restart k3s-agent",
	}
	if !slices.Equal(story, rest) {
		t.Errorf("then it is %q", story)
	}
	if story = nil; run("1") != nil || len(story) > 0 {
		t.Errorf("once more it is %q", story)
	}
}
