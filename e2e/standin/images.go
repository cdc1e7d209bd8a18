package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	imagesDir = dataDir + "/agent/images"
	imageDB   = dataDir + "/agent/containerd/images.json" // the names that were taken in
)

// importImages takes in every archive of the images directory, and returns the
// names of all images that the host has.
func importImages() ([]string, error) {
	names, err := knownImages()
	if err != nil {
		return nil, err
	}
	files, err := os.ReadDir(root(imagesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range files {
		if f.Name() == cacheFile {
			if err := remembers(Version); err != nil {
				return nil, err
			}
			continue
		}
		found, err := archiveNames(filepath.Join(root(imagesDir), f.Name()))
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w (R7)", imagesDir, f.Name(), err)
		}
		logf("images of %s: %d", f.Name(), len(found))
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

// cacheFile has k3s leave out archives that did not change.
const cacheFile = ".cache.json"

// remembers refuses that file where the version would forget to pin what it left
// out (https://github.com/k3s-io/k3s/issues/14265).
func remembers(version string) error {
	for _, first := range []string{"v1.33.13+k3s2", "v1.34.10", "v1.35.7", "v1.36.3"} {
		if slices.Equal(release(version)[:2], release(first)[:2]) && !newer(first, version) {
			return nil
		}
	}
	if newer(version, "v1.37.0") {
		return nil
	}
	return fmt.Errorf("%s beside the archives: %s forgets to pin what it leaves out (R25)", cacheFile, version)
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

// archiveNames reads a docker or OCI archive to its end and returns the names
// in it.
func archiveNames(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	switch {
	case strings.HasSuffix(path, ".tar"):
	case strings.HasSuffix(path, ".tar.gz"), strings.HasSuffix(path, ".tgz"):
		if r, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("not an archive of a kind that this stand-in reads (.tar, .tar.gz): files get their name when they are whole")
	}
	var names []string
	last := false // the archive ends as an archive does
	for t := tar.NewReader(r); ; {
		hdr, err := t.Next()
		if err == io.EOF {
			last = true
		}
		if last || err != nil {
			if !last {
				return nil, fmt.Errorf("it is not whole: %w", err)
			}
			break
		}
		switch hdr.Name {
		case "index.json":
			var index struct {
				Manifests []struct {
					Annotations map[string]string
				}
			}
			if err := json.NewDecoder(t).Decode(&index); err != nil {
				return nil, err
			}
			for _, m := range index.Manifests {
				if n := m.Annotations["io.containerd.image.name"]; n != "" {
					names = append(names, n)
				}
			}
		case "manifest.json":
			var list []struct{ RepoTags []string }
			if err := json.NewDecoder(t).Decode(&list); err != nil {
				return nil, err
			}
			for _, m := range list {
				names = append(names, m.RepoTags...)
			}
		default:
			if _, err := io.Copy(io.Discard, t); err != nil {
				return nil, fmt.Errorf("it is not whole: %w", err)
			}
		}
	}
	if len(names) == 0 {
		return nil, errors.New("no image in it has a name")
	}
	return names, nil
}

// ctr knows `[-n NAMESPACE] images ls -q`.
func ctr(args []string) error {
	if len(args) > 1 && (args[0] == "-n" || args[0] == "--namespace") {
		args = args[2:]
	}
	if strings.Join(args, " ") != "images ls -q" {
		return fmt.Errorf("ctr: the stand-in knows only images ls -q")
	}
	names, err := knownImages()
	if err != nil {
		return err
	}
	if names == nil {
		return errors.New("ctr: cannot dial unix:///run/k3s/containerd/containerd.sock: no such file")
	}
	for _, n := range names {
		fmt.Println(n)
	}
	return nil
}
