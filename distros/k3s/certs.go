package k3s

import (
	"cmp"
	"fmt"
	"net"
	"strconv"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/certificates"
	"github.com/sealrt/sealrt/runtime/release"
)

// newCAs is where new CAs are until the cluster has them.
const newCAs = kept + "/rotate-ca"

// serverTLS is where a server has its certificates.
func serverTLS(c *runtime.Cluster) string { return serverDir(c) + "/tls" }

// Certificates are those below the data directory, and what k3s, its kubelet and
// its etcd show. etcd shows two, one to the servers that use it and one to its
// other members; where k3s keeps its data elsewhere it is not there.
func (Driver) Certificates(c *runtime.Cluster, m runtime.Member) runtime.Certificates {
	at := func(port int) string {
		return net.JoinHostPort(cmp.Or(m.NodeIP, "127.0.0.1"), strconv.Itoa(port))
	}
	agentDir, serverTLS := stateDir(c)+"/agent", serverTLS(c)
	kubelet := certificates.Endpoint{Name: "kubelet", Address: at(10250), File: agentDir + "/serving-kubelet.crt"}
	if m.Role == runtime.Node {
		return runtime.Certificates{
			Files: []string{agentDir + "/*.crt"}, Endpoints: []certificates.Endpoint{kubelet}, Fresh: []string{agentDir + "/client-kubelet.crt"},
		}
	}
	etcd := func(name string, port int, file string) certificates.Endpoint {
		own := serverTLS + "/etcd/"
		return certificates.Endpoint{Name: name, Address: at(port), File: own + file, Cert: own + "client.crt", Key: own + "client.key", If: dbDir(c) + "/etcd/member"}
	}
	return runtime.Certificates{
		Files: []string{
			serverTLS + "/*.crt", serverTLS + "/etcd/*.crt", serverTLS + "/kube-*/*.crt", serverTLS + "/dynamic-cert.json", agentDir + "/*.crt", kubeconfig,
		},
		Endpoints: []certificates.Endpoint{
			{Name: runtime.APIEndpoint, Address: at(apiPort), File: serverTLS + "/dynamic-cert.json", Cert: serverTLS + "/client-admin.crt", Key: serverTLS + "/client-admin.key"},
			kubelet,
			etcd("etcd", 2379, "server-client.crt"),
			etcd("etcd-peer", 2380, "peer-server-client.crt"),
		},
		Fresh: []string{kubeconfig},
	}
}

var _ runtime.Renewer = Driver{}

// Renew has a server make all its certificates anew, which it does when it starts
// and they are gone; `k3s certificate rotate` takes them away while it is stopped.
// An agent asks the servers for its own whenever it starts
// (https://docs.k3s.io/cli/certificate).
func (Driver) Renew(_ *runtime.Cluster, m runtime.Member, how runtime.Renewal) ([]runtime.Step, error) {
	u := unit(m.Role)
	stops := runtime.Disturbance{Services: []string{u}, API: m.Role == runtime.Master}
	systemctl := func(verb, with string) runtime.Step {
		return runtime.Step{ID: "certificates: " + verb, With: with, Again: true, Disturbs: stops, Tells: []string{u}, Do: runtime.Exec{
			Argv: []string{"systemctl", verb, u}, Env: how.Env(), Timeout: readyTimeout,
		}}
	}
	if m.Role == runtime.Node {
		return []runtime.Step{systemctl("restart", "")}, nil
	}
	const rotate = "rotate certificates"
	return []runtime.Step{
		systemctl("stop", rotate),
		{ID: rotate, Again: true, Do: runtime.Exec{Argv: []string{program, "certificate", "rotate"}, Env: how.Env(), Timeout: readyTimeout}},
		systemctl("start", rotate),
	}, nil
}

var _ runtime.CARotator = Driver{}

// RotateCA gives the cluster new CAs, which the old ones vouch for, so that hosts
// with old certificates and hosts with new ones know each other meanwhile. The
// tokens of the cluster are passwords alone and name no CA: they stay.
//
// The command is in v1.25.7, v1.26.2 and later
// (https://docs.k3s.io/cli/certificate, "Rotating Self-Signed CA Certificates").
func (Driver) RotateCA(c *runtime.Cluster, how runtime.Renewal) ([]runtime.Step, error) {
	v, err := releaseOf(c)
	if err != nil {
		return nil, err
	}
	if !rotatesCA(v) {
		return nil, fmt.Errorf("the cluster runs k3s %s, whose CAs cannot be rotated: v1.25.7, v1.26.2 and later can (sealrt upgrade); without --ca all other certificates are renewed", v)
	}
	const rotate = "rotate CAs"
	gone := runtime.Remove{Paths: []string{newCAs}}
	return []runtime.Step{
		{ID: "make CAs", With: rotate, Again: true, Do: runtime.Exec{
			Argv: []string{runtime.HelperPath, "host", "newca", "--from", serverTLS(c), "--to", newCAs + "/server/tls"}, Env: how.Env(), Recover: []runtime.Action{gone},
		}},
		{ID: rotate, Again: true, Do: runtime.Exec{
			Argv: []string{program, "certificate", "rotate-ca", "--path", newCAs + "/server"}, Env: how.Env(), Timeout: readyTimeout,
		}},
		{ID: "remove CAs", With: rotate, Do: gone},
	}, nil
}

// rotatesCA reports whether a version knows `k3s certificate rotate-ca`.
func rotatesCA(v release.Release) bool { return releases{line(25, 7), line(26, 2)}.has(v) }

var _ runtime.Namer = Driver{}

// AddNames starts a server with the names in its configuration: what it answers
// others with then has them (tls-san, https://docs.k3s.io/cli/server).
func (d Driver) AddNames(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	s, err := settingsOf(c, m)
	if err != nil {
		return nil, err
	}
	if err := c.CheckNames(list(s["tls-san"]), "the configuration of k3s in the Clusterfile sets tls-san"); err != nil {
		return nil, err
	}
	config, err := configuration(c, m)
	if err != nil {
		return nil, err
	}
	return d.service(c, m, "", configStep(config))
}
