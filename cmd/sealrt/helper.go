package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
)

// helperName is what the sealrt program for a platform is called in a
// directory.
func helperName(system, arch string) string { return "sealrt-" + system + "-" + arch }

// helperFile returns the file of the sealrt program for a platform: this very
// program where it is the same one, else one that lies in dir, "" for none, or
// beside this one. The error is a noHelperError when there is none.
func helperFile(dir, system, arch string) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the sealrt executable: %w", err)
	}
	if system == goruntime.GOOS && arch == goruntime.GOARCH {
		return own, nil
	}
	name := helperName(system, arch)
	places := []string{filepath.Join(filepath.Dir(own), name)}
	if dir != "" {
		places = append([]string{filepath.Join(dir, name)}, places...)
	}
	for _, file := range places {
		info, err := os.Stat(file)
		if err == nil && info.Mode().IsRegular() {
			return file, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the sealrt executable for %s/%s: %w", system, arch, err)
		}
	}
	return "", noHelperError(fmt.Sprintf("this sealrt is %s/%s, and there is none for %s/%s: put that as %s beside %s, or into a directory that --helper-dir names",
		goruntime.GOOS, goruntime.GOARCH, system, arch, name, own))
}

// noHelperError says that there is no sealrt program for a platform, and what to do.
type noHelperError string

func (n noHelperError) Error() string { return string(n) }

// helper opens the sealrt program for a platform: a file of this machine's, or
// what one of the images was built with.
func (k *known) helper(system, arch string) (io.ReadCloser, error) {
	dir := ""
	if k.dial != nil {
		dir = k.dial.flags.helperDir
	}
	file, err := helperFile(dir, system, arch)
	if err == nil {
		return os.Open(file)
	}
	var none noHelperError
	if !errors.As(err, &none) {
		return nil, err
	}
	if k.inImage != nil {
		r, err := k.inImage(system, arch)
		if err == nil || !errors.Is(err, artifact.ErrNotFound) {
			return r, err
		}
	}
	return nil, fmt.Errorf("%w, or build the image with --with-helper", none)
}

// helperInImages returns what opens the sealrt program that one of the images
// was built with.
func helperInImages(ctx context.Context, src artifact.Source, images []runtime.Image) func(system, arch string) (io.ReadCloser, error) {
	return func(system, arch string) (io.ReadCloser, error) {
		for _, i := range images {
			r, err := runtime.OpenHelper(ctx, src, i.Ref, v1.Platform{OS: system, Architecture: arch})
			if err == nil || !errors.Is(err, artifact.ErrNotFound) {
				return r, err
			}
		}
		return nil, fmt.Errorf("sealrt for %s/%s: %w", system, arch, artifact.ErrNotFound)
	}
}
