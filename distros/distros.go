// Package distros turns the distribution that a cluster image states into the
// driver that knows it.
package distros

import (
	"fmt"

	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
)

// New returns the driver for the distribution of the image that a cluster is
// made of. An image that boots no cluster, or one of a distribution that is
// not known here, is an error.
func New(image runtime.Image) (runtime.Driver, error) {
	if !image.Boots() {
		return nil, fmt.Errorf("%s is of type %q and boots no cluster: name a rootfs image first (one with bin/kubeadm, bin/k3s or bin/k0s)", image.Ref.Familiar(), image.Kind.Type)
	}
	switch image.Kind.Distro {
	case "kubernetes":
		return kubernetes.Driver{}, nil
	}
	return nil, fmt.Errorf("%s holds the distribution %q, which this version of sealrt cannot boot (it knows: kubernetes)", image.Ref.Familiar(), image.Kind.Distro)
}
