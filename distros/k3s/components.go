package k3s

import "github.com/sealrt/sealrt/runtime"

var _ runtime.Composed = Driver{}

// Components are what k3s is made of: most of it is in the program, some in
// container images. go-sqlite3 brings SQLite, and has a version of its own; runc
// is a program of its own beside k3s, which is built with the same version as a
// library (https://github.com/k3s-io/k3s/blob/master/scripts/version.sh).
func (Driver) Components() runtime.Components {
	return runtime.Components{Program: "bin/k3s", Parts: []runtime.Component{
		{Name: "Kubernetes", Modules: []string{"k8s.io/kubernetes"}},
		{Name: "Kine", Modules: []string{"github.com/k3s-io/kine"}},
		{Name: "SQLite", Driver: "github.com/mattn/go-sqlite3"},
		{Name: "Etcd", Modules: []string{"go.etcd.io/etcd/server/v3"}},
		{Name: "Containerd", Modules: []string{"github.com/containerd/containerd/v2", "github.com/containerd/containerd"}},
		{Name: "Runc", Modules: []string{"github.com/opencontainers/runc"}},
		{Name: "Flannel", Modules: []string{"github.com/flannel-io/flannel"}},
		{Name: "Metrics-server", Image: "mirrored-metrics-server"},
		{Name: "Traefik", Image: "mirrored-library-traefik"},
		{Name: "CoreDNS", Image: "mirrored-coredns-coredns"},
		{Name: "Helm-controller", Modules: []string{"github.com/k3s-io/helm-controller"}},
		{Name: "Local-path-provisioner", Image: "local-path-provisioner"},
	}}
}
