package k0s

import (
	"cmp"
	"net"
	"strconv"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/certificates"
)

func kubeletRoot(c *runtime.Cluster) string { return cmp.Or(c.DataDir.Kubelet, kubeletDir) }

const loopback = "127.0.0.1"

func endpoint(name, host string, port int, file string) certificates.Endpoint {
	return certificates.Endpoint{Name: name, Address: net.JoinHostPort(host, strconv.Itoa(port)), File: file}
}

// kubeletOf is where the kubelet of a host answers.
func kubeletOf(c *runtime.Cluster, m runtime.Member) certificates.Endpoint {
	return endpoint("kubelet", cmp.Or(m.NodeIP, loopback), 10250, kubeletRoot(c)+"/pki/kubelet-server-current.pem")
}

// kubeletAnswers waits until a kubelet shows a certificate of its host's. A new one
// is Ready some seconds before a controller approves that; one that starts again
// is called Ready from before it was stopped.
func kubeletAnswers(c *runtime.Cluster, m runtime.Member) runtime.Step {
	return runtime.Step{ID: "kubelet answers", Do: runtime.Await{
		Argv:    []string{runtime.HelperPath, "host", "certs", "--endpoint", kubeletOf(c, m).String(), "--names", m.Hostname},
		Timeout: readyTimeout,
	}}
}

// Certificates are those of k0s' PKI and of the kubelet, and what k0s, its
// kubelet and its etcd show. Others reach etcd as a peer only.
func (d Driver) Certificates(c *runtime.Cluster, m runtime.Member) runtime.Certificates {
	out := runtime.Certificates{Files: []string{kubeletRoot(c) + "/pki/*-current.pem"}, Endpoints: []certificates.Endpoint{kubeletOf(c, m)}}
	if m.Role == runtime.Node {
		return out
	}
	at := cmp.Or(m.NodeIP, loopback)
	out.Files = append(out.Files, pkiDir+"/*.crt", pkiDir+"/etcd/*.crt", kubeconfig)
	out.Fresh = []string{kubeconfig, pkiDir + "/server.crt"}
	out.Endpoints = append(out.Endpoints, endpoint(runtime.APIEndpoint, at, apiPort, pkiDir+"/server.crt"))
	if d.Votes(c) {
		etcd, peer := endpoint("etcd", loopback, 2379, pkiDir+"/etcd/server.crt"), endpoint("etcd-peer", at, 2380, pkiDir+"/etcd/peer.crt")
		etcd.Cert, etcd.Key = pkiDir+"/apiserver-etcd-client.crt", pkiDir+"/apiserver-etcd-client.key"
		peer.Cert, peer.Key = pkiDir+"/etcd/peer.crt", pkiDir+"/etcd/peer.key"
		out.Endpoints = append(out.Endpoints, etcd, peer)
	}
	return out
}

var _ runtime.Renewer = Driver{}

// Renew starts k0s again: a controller makes all its certificates but the CAs
// anew whenever it starts (docs.k0sproject.io, "Certificates"), and a kubelet
// asks for one to answer with where it has none, which a controller approves. Its
// own identity the kubelet renews by itself in time.
func (Driver) Renew(c *runtime.Cluster, m runtime.Member, how runtime.Renewal) ([]runtime.Step, error) {
	const restart = "certificates: restart"
	u := unit(m.Role)
	return []runtime.Step{
		{ID: "certificates: kubelet", With: restart, Again: true, Do: runtime.Exec{
			Argv: []string{"find", kubeletRoot(c) + "/pki", "-name", "kubelet-server-*", "-delete"}, Env: how.Env(),
		}},
		{ID: restart, Again: true, Tells: []string{u}, Disturbs: runtime.Disturbance{Services: []string{u}, API: m.Role == runtime.Master},
			Do: runtime.Exec{Argv: []string{"systemctl", "restart", u}, Env: how.Env(), Timeout: readyTimeout}},
	}, nil
}

var _ runtime.Namer = Driver{}

// AddNames starts a controller with the names in its configuration
// (spec.api.sans).
func (d Driver) AddNames(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	t, err := ofControllers(c)
	if err != nil {
		return nil, err
	}
	read, write, err := configSteps(c, m, program)
	if err := cmp.Or(err, c.CheckNames(t.Spec.API.SANs, "the "+configKind+" in the Clusterfile sets spec.api.sans")); err != nil {
		return nil, err
	}
	service, err := d.service(c, m, "", append(read, write...)...)
	return append(service, kubeletAnswers(c, m)), err
}
