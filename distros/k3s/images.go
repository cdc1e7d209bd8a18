package k3s

import (
	"path"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/docker"
	"github.com/sealrt/sealrt/runtime/release"
)

// How k3s takes in the files of its images directory, by version
// (https://docs.k3s.io/installation/airgap):
//
//   - it does so whenever it starts, before its kubelet is Ready, and since the
//     releases of January 2025 as soon as a file has a name that it knows;
//   - it pins what it took in since those of January 2024. Before, its kubelet
//     may collect an image that no container runs;
//   - with a file .cache.json it leaves out files that did not change, since
//     those of May 2025. Until those below it forgot to pin these
//     (https://github.com/k3s-io/k3s/issues/14265).
func cachesSafely() releases {
	return releases{line(33, 13).Built("k3s", 2), line(34, 10), line(35, 7), line(36, 3)}
}

// pins reports whether the kubelet leaves images alone that were imported.
func pins(v release.Release) bool { return ofJanuary2024().has(v) }

// Import puts the container images of a cluster image where k3s takes them in
// when it starts. The file stays: what the kubelet has collected comes back with
// it. It gets its name when it is whole, since k3s may be watching, and never
// changes, since the name is that of its content.
func (Driver) Import(c *runtime.Cluster, i runtime.Image) []runtime.Step {
	if docker.Chosen(c) {
		return docker.Import(c, i) // k3s reads its files for containerd alone
	}
	tarballs := i.In("images")
	if len(i.Images)+len(tarballs) == 0 {
		return nil
	}
	steps := []runtime.Step{{ID: "place the images of " + i.Ref.Familiar(), Do: runtime.Feed{
		Image: i.Digest, Tarballs: tarballs,
		File: imagesFile(c, i),
		Into: stateDir(c),
	}}}
	if v, err := releaseOf(c); err == nil && i.Boots() && cachesSafely().has(v) {
		// k3s fills the file: it is only to be there
		steps = append(steps, runtime.Step{ID: "remember the images", Do: runtime.Exec{Argv: []string{"touch", path.Join(imagesDir(c), ".cache.json")}}})
	}
	return steps
}

// imagesDir is where k3s looks for images.
func imagesDir(c *runtime.Cluster) string { return path.Join(stateDir(c), "agent/images") }

// imagesFile is where the container images of a cluster image lie.
func imagesFile(c *runtime.Cluster, i runtime.Image) string {
	return i.Archive(imagesDir(c))
}

// keepImages has the kubelet collect no images where nobody gives them back: k3s
// does not pin them, and there is no image service on the host.
func keepImages(c *runtime.Cluster, s settings) {
	v, err := releaseOf(c)
	if err != nil || pins(v) || !c.Registry.Script || docker.Chosen(c) {
		return
	}
	s["kubelet-arg"] = append(words(s["kubelet-arg"]), "image-gc-high-threshold=100") // never: KubeletConfiguration, imageGCHighThresholdPercent
}
