// Package distros turns the distribution that a cluster image states into the
// driver that knows it.
package distros

import (
	"fmt"
	"strings"

	"github.com/sealrt/sealrt/distros/k0s"
	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
)

// drivers are the distributions that are known here.
func drivers() []runtime.Driver {
	return []runtime.Driver{k0s.Driver{}, k3s.Driver{}, kubernetes.Driver{}}
}

// New returns the driver for the distribution of the image that a cluster is
// made of. An image that boots no cluster, or one of a distribution that is
// not known here, is an error.
func New(image runtime.Image) (runtime.Driver, error) {
	if !image.Boots() {
		return nil, fmt.Errorf("%s is of type %q and boots no cluster: name a rootfs image first (one with bin/kubeadm, bin/k3s or bin/k0s)", image.Ref.Familiar(), image.Kind.Type)
	}
	var known []string
	for _, d := range drivers() {
		if d.Name() == image.Kind.Distro {
			return d, nil
		}
		known = append(known, d.Name())
	}
	return nil, fmt.Errorf("%s holds the distribution %q, which this version of sealrt cannot boot (it knows: %s)", image.Ref.Familiar(), image.Kind.Distro, strings.Join(known, ", "))
}
