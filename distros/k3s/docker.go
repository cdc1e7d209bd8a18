package k3s

import (
	"fmt"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/docker"
)

// withDocker has k3s run pods on the docker of the host, by the cri-dockerd that
// is built into it (https://docs.k3s.io/advanced, "Using Docker as the Container
// Runtime"). The kubelet collects no images: only those of docker.io could be had
// again from the image service, and cri-dockerd pins none but pause.
func withDocker(c *runtime.Cluster, s settings) {
	if !docker.Chosen(c) {
		return
	}
	s["docker"] = true
	s["kubelet-arg"] = append(words(s["kubelet-arg"]), "image-gc-high-threshold=100") // never: KubeletConfiguration, imageGCHighThresholdPercent
}

// checkDocker refuses a runtime that this version cannot have, and settings that
// say another one than the Clusterfile.
func checkDocker(c *runtime.Cluster, s settings) error {
	if !docker.Chosen(c) {
		if s["docker"] != nil && s.text("docker", "") != "false" {
			return fmt.Errorf("the settings of k3s say docker: leave it away, and write runtime: docker in the Clusterfile, which has docker installed")
		}
		if dir := c.DataDir.Containerd; dir != "" {
			return fmt.Errorf("dataDir.containerd is %s: k3s keeps that below %s and cannot be told another place for it: leave it away, mount a disk there, or give k3s a data-dir", dir, dataDir)
		}
		return nil
	}
	v, err := releaseOf(c)
	if err != nil {
		return err
	}
	if first := line(24, 0); !(releases{first}).has(v) {
		return fmt.Errorf("runtime: docker, and k3s %s has no cri-dockerd: it came with %s: take that, or runtime: containerd", v, first)
	}
	for _, bad := range []struct {
		is   bool
		what string
	}{
		{!s.on("docker"), "docker: false"},
		{s["container-runtime-endpoint"] != nil, "container-runtime-endpoint"},
		{s.on("embedded-registry"), "embedded-registry, which needs the containerd of k3s"},
	} {
		if bad.is {
			return fmt.Errorf("runtime: docker, and the settings of k3s say %s: leave it away, or take runtime: containerd", bad.what)
		}
	}
	return docker.Check(c)
}

// afterDocker has the service of k3s start after docker's when the host boots.
func afterDocker(m runtime.Member) runtime.Step {
	return runtime.Step{ID: "unit after docker", Do: runtime.Write{
		Path: unitPath(m) + ".d/10-docker.conf",
		Data: "# Written by sealrt.\n[Unit]\nWants=" + docker.Unit + ".service\nAfter=" + docker.Unit + ".service\n", Mode: 0o644,
	}}
}

// toDocker loads the container images that an upgrade took away, and takes those
// that it brought.
func toDocker(c *runtime.Cluster, from runtime.Image) []runtime.Step {
	steps := docker.Import(c, c.Image())
	for i := range steps {
		steps[i].ID = "bring back the images"
	}
	tried := *c
	tried.Images = []runtime.Image{from}
	return append(steps, docker.Discard(&tried, c)...)
}

// withoutDocker takes docker away: its containers hold what k3s' own script and the
// flush remove.
func withoutDocker(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	if !docker.Chosen(c) {
		return nil
	}
	return docker.Remove(c, m)
}
