package runtime

import (
	"fmt"

	"github.com/sealrt/sealrt/artifact"
)

// CheckOrder refuses images that make no cluster: there is one rootfs image, in
// front, its patches come next, and app images last. App images alone are for a
// cluster that stands. A patch that names a distribution, or a version of it, is
// for no other.
func CheckOrder(images []Image) error {
	apps := ""
	for n, i := range images {
		name := i.Ref.Familiar()
		switch i.Kind.Type {
		case artifact.TypeRootfs:
			if n > 0 && images[0].Boots() {
				return fmt.Errorf("%s and %s are both rootfs images: a cluster is made of one; what goes over it is a patch (LABEL io.sealrt.type=patch)", images[0].Ref.Familiar(), name)
			}
			if n > 0 {
				return fmt.Errorf("%s is a rootfs image: name it first, before %s", name, images[0].Ref.Familiar())
			}
		case artifact.TypePatch:
			if apps != "" {
				return fmt.Errorf("%s is a patch: name it before the app %s, behind the rootfs image", name, apps)
			}
			if n == 0 || !images[0].Boots() {
				return fmt.Errorf("%s is a patch: name the rootfs image that it goes over in front of it", name)
			}
			if err := fits(i, images[0]); err != nil {
				return err
			}
		default:
			apps = name
		}
	}
	return nil
}

// fits refuses a patch that is for something else.
func fits(patch, rootfs Image) error {
	p, r := patch.Kind, rootfs.Kind
	switch {
	case p.Distro != "" && p.Distro != r.Distro:
		return fmt.Errorf("%s is a patch for %s, and %s is %s", patch.Ref.Familiar(), p.Distro, rootfs.Ref.Familiar(), r.Distro)
	case p.Version != "" && r.Version != "" && !artifact.SameVersion(p.Version, r.Version):
		return fmt.Errorf("%s is a patch for %s %s, and %s has %s", patch.Ref.Familiar(), r.Distro, p.Version, rootfs.Ref.Familiar(), r.Version)
	}
	return nil
}
