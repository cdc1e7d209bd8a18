package runtime

import (
	"path"
	"time"
)

// ImportPause is how long a distribution that takes in what lies in a directory may
// take from one image to the next: it looks there every few seconds, and a node that
// is Ready from before does not wait for it.
const ImportPause = 2 * time.Minute

// AllPresent demands that a host has all container images of some images. What
// they are called is filled in.
func AllPresent(images []Image, demand Present) []Step {
	var steps []Step
	for _, i := range images {
		if len(i.Images) > 0 {
			demand.Names = i.Images
			steps = append(steps, Step{ID: "images of " + i.Ref.Familiar() + " present", Do: demand})
		}
	}
	return steps
}

// Archive is the file in a directory of a host that has the container images of
// the image, and no other image's.
func (i Image) Archive(dir string) string {
	return path.Join(dir, "sealrt-"+path.Base(i.Rootfs())+".tar")
}

// Before is the directory below another one for what is kept before a cluster
// goes to the image.
func (i Image) Before(dir string) string {
	return path.Join(dir, "before-"+path.Base(i.Rootfs()))
}

// ReturnImages takes from a host the container images that an upgrade brought,
// and brings back those that it took, if there are any.
func ReturnImages(take Action, bring []Step) []Step {
	const back = "bring back the images"
	steps := []Step{{ID: "take back the images", Do: take}}
	for _, s := range bring {
		steps[0].With = back
		steps = append(steps, Step{ID: back, Do: s.Do})
	}
	return steps
}

// ImageSize is the bytes of all images of the cluster.
func (c *Cluster) ImageSize() int64 {
	var sum int64
	for _, i := range c.Images {
		sum += i.Size
	}
	return sum
}
