package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// imageDB has the names that were taken in.
const imageDB = dataDir + "/containerd/images.json"

// takeIn reads every file of the images directory; each is a whole archive,
// whenever one looks.
func takeIn() ([]string, error) {
	files, err := os.ReadDir(root(imagesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, f := range files {
		found, err := archiveNames(filepath.Join(root(imagesDir), f.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("failed to load OCI bundle %s/%s: %w (R7)", imagesDir, f.Name(), err)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	raw, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	return names, writeFile(imageDB, 0o600, raw)
}

// watchImages looks again every second: k0s watches the directory too.
func watchImages(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		if _, err := takeIn(); err != nil {
			return err
		}
	}
}

func knownImages() ([]string, error) {
	raw, err := os.ReadFile(root(imageDB))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	return names, json.Unmarshal(raw, &names)
}

// archiveNames reads a docker or OCI archive to its end and returns the names in
// it.
func archiveNames(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	for t := tar.NewReader(f); ; {
		hdr, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("it is no archive, or compressed, or not whole: %w", err)
		}
		var doc any
		if hdr.Name != "index.json" && hdr.Name != "manifest.json" {
			if _, err := io.Copy(io.Discard, t); err != nil {
				return nil, fmt.Errorf("it is not whole: %w", err)
			}
			continue
		}
		if err := json.NewDecoder(t).Decode(&doc); err != nil {
			return nil, err
		}
		names = append(names, namesIn(doc)...)
	}
	if len(names) == 0 {
		return nil, errors.New("no image in it has a name")
	}
	return names, nil
}

// namesIn finds the names in an index of OCI or a manifest of docker.
func namesIn(doc any) []string {
	var out []string
	switch d := doc.(type) {
	case map[string]any:
		for key, v := range d {
			if name, ok := v.(string); ok && key == "io.containerd.image.name" {
				out = append(out, name)
			}
			if list, ok := v.([]any); ok && key == "RepoTags" {
				for _, name := range list {
					out = append(out, fmt.Sprint(name))
				}
			}
			out = append(out, namesIn(v)...)
		}
	case []any:
		for _, v := range d {
			out = append(out, namesIn(v)...)
		}
	}
	return out
}

// ctr knows images ls -q.
func ctr(args []string) error {
	if strings.Join(args, " ") != "images ls -q" {
		return errors.New("ctr: the stand-in knows only images ls -q")
	}
	if is, err := answers(); is == nil {
		return errors.Join(errors.New("ctr: failed to dial /run/k0s/containerd.sock"), err)
	}
	names, err := knownImages()
	for _, n := range names {
		fmt.Println(n)
	}
	return err
}

// listImages prints what a cluster of this version needs.
func listImages() error {
	for _, n := range []string{"pause:3.10", "coredns:" + strings.ReplaceAll(Version, "+", "-"), "envoy-distroless:v1"} {
		fmt.Println("docker.io/standin/" + n)
	}
	return nil
}
