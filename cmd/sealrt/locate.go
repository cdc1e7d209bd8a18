package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	goruntime "runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/runtime"
)

// openImages finds each image in the store, in its registry, or in an archive,
// and returns with them the one place that all their blobs are read from. What
// approved does not allow is not opened.
func openImages(ctx context.Context, env *environment, args []string, platform v1.Platform, approved judged) ([]runtime.Image, artifact.Source, error) {
	store, err := env.heldStore(ctx)
	if err != nil {
		return nil, nil, err
	}
	var images []runtime.Image
	sources := byReference{}
	for i, arg := range args {
		ref, src, err := locate(ctx, env, store, arg)
		if err != nil {
			return nil, nil, err
		}
		pinned, err := approved.still(ctx, src, i, ref)
		if err != nil {
			return nil, nil, err
		}
		image, err := runtime.OpenImage(ctx, src, pinned, platform)
		if err != nil {
			return nil, nil, err
		}
		image.Ref = ref
		images = append(images, image)
		sources[ref.Name()] = append(sources[ref.Name()], src)
	}
	return images, sources, nil
}

// requireImages refuses images that are nowhere before a host is asked for
// anything. They are fetched when the platform of the hosts is known.
func requireImages(ctx context.Context, env *environment, args []string) error {
	for _, arg := range args {
		ref, src, err := whereIs(ctx, env, arg, false)
		if err == nil {
			_, err = src.Resolve(ctx, ref)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// locate returns where an image lies. What the store lacks is pulled into it.
func locate(ctx context.Context, env *environment, store *store.Store, arg string) (artifact.Reference, artifact.Source, error) {
	if isArchive(arg) {
		return openArchive(ctx, env, arg)
	}
	ref, err := parseRef(arg)
	if err != nil {
		return artifact.Reference{}, nil, err
	}
	_, err = store.Resolve(ctx, ref)
	if errors.Is(err, artifact.ErrNotFound) {
		_, err = artifact.Copy(ctx, store, ref, env.registry(), ref, env.copyOptions())
	}
	return ref, store, err
}

// byReference is a source made of several, by the name of the image. Images of
// one name may lie in several: a version in the store, another in an archive.
type byReference map[string][]artifact.Source

// Resolve implements artifact.Source.
func (b byReference) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	return firstFound(b[ref.Name()], ref, func(src artifact.Source) (v1.Descriptor, error) { return src.Resolve(ctx, ref) })
}

// Open implements artifact.Source.
func (b byReference) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	return firstFound(b[ref.Name()], ref, func(src artifact.Source) (io.ReadCloser, error) { return src.Open(ctx, ref, d, offset) })
}

// firstFound asks sources one after the other for what some of them lack.
func firstFound[T any](list []artifact.Source, ref artifact.Reference, ask func(artifact.Source) (T, error)) (found T, err error) {
	err = fmt.Errorf("%s: %w", ref.Familiar(), artifact.ErrNotFound)
	for _, src := range list {
		if found, err = ask(src); !errors.Is(err, artifact.ErrNotFound) {
			break
		}
	}
	return found, err
}

// helper opens the sealrt executable for a platform: this very program where
// it is the same one.
func (e *environment) helper(system, arch string) (io.ReadCloser, error) {
	if system != goruntime.GOOS || arch != goruntime.GOARCH {
		return nil, fmt.Errorf("the host is %s/%s and this sealrt is %s/%s: run the sealrt that was built for the hosts", system, arch, goruntime.GOOS, goruntime.GOARCH)
	}
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the sealrt executable: %w", err)
	}
	return os.Open(path)
}

// imagesFile keeps what the cluster was made of, so that reset and status need
// no image at hand.
const imagesFile = "images.json"

// madeOf is one image of a cluster, as the state keeps it.
type madeOf struct {
	Ref    artifact.Reference `json:"ref"`
	Digest string             `json:"digest"`
	Kind   artifact.Kind      `json:"kind"`
}

func saveCluster(s *runtime.State, c *runtime.Cluster, ssh runtime.SSH) error {
	var made []madeOf
	for _, i := range c.Images {
		made = append(made, madeOf{i.Ref, i.Digest, i.Kind})
	}
	raw, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return fmt.Errorf("save the cluster: %w", err)
	}
	if err := s.Write(imagesFile, append(raw, '\n')); err != nil {
		return err
	}
	return s.Save(c.Clusterfile(ssh))
}

func loadImages(s *runtime.State) ([]madeOf, error) {
	raw, err := os.ReadFile(s.Path(imagesFile))
	if err != nil {
		return nil, err
	}
	var made []madeOf
	if err := json.Unmarshal(raw, &made); err != nil || len(made) == 0 {
		return nil, fmt.Errorf("%s is damaged: %w", s.Path(imagesFile), err)
	}
	return made, nil
}

// sameImage refuses to make a cluster of one image into one of another: that
// is an upgrade.
func sameImage(s *runtime.State, c *runtime.Cluster) error {
	made, err := loadImages(s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if made[0].Digest != c.Image().Digest {
		return fmt.Errorf("cluster %s was made of %s (%s), not of this %s (%s): reset it first, or give another --cluster", c.Name, made[0].Ref.Familiar(), made[0].Digest, c.Image().Ref.Familiar(), c.Image().Digest)
	}
	return nil
}
