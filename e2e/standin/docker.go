package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"
)

// dockerSocket is where cri-dockerd asks docker.
const dockerSocket = "/run/docker.sock"

// takeImages returns the names of all images that the host has: those of docker,
// which has to answer, where the settings say so; else those that were taken in.
// With docker k3s reads no archives (https://docs.k3s.io/installation/airgap).
func takeImages(ctx context.Context, config settings) ([]string, error) {
	if config.text("docker") != "true" {
		return importImages()
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", root(dockerSocket))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/images/json", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("failed to get docker runtime info: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("docker says %s", resp.Status)
	}
	var images []struct{ RepoTags []string }
	if err := json.NewDecoder(resp.Body).Decode(&images); err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	var names []string
	for _, i := range images {
		names = append(names, i.RepoTags...)
	}
	slices.Sort(names)
	logf("docker has %d images", len(names))
	return names, nil
}
