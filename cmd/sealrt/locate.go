package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/distros"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/registry"
	"github.com/sealrt/sealrt/runtime/state"
)

// openImages finds each image in the store, in its registry, or in an archive,
// lays patches over the rootfs image, and returns with them the one place that
// all their blobs are read from. What approved does not allow is not opened.
func openImages(ctx context.Context, env *environment, args []string, platform v1.Platform, approved judged) ([]runtime.Image, artifact.Source, error) {
	store, err := env.heldStore(ctx)
	if err != nil {
		return nil, nil, err
	}
	var found []foundImage
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
		found = append(found, foundImage{image, pinned, src})
		sources[ref.Name()] = append(sources[ref.Name()], src)
	}
	images, patched, err := layOver(ctx, env, store, found, platform)
	if patched {
		name := images[0].Ref.Name()
		sources[name] = append([]artifact.Source{store}, sources[name]...)
	}
	return images, sources, err
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

// imagesFile keeps what the cluster was made of, so that reset and status need
// no image at hand.
const imagesFile = state.Images

// madeOf is one image of a cluster, as the state keeps it: with what is needed
// to take it away again when the image itself is not at hand.
type madeOf struct {
	Ref      artifact.Reference   `json:"ref"`
	Digest   string               `json:"digest"`
	Kind     artifact.Kind        `json:"kind"`
	Env      []string             `json:"env,omitempty"`
	Cmd      []string             `json:"cmd,omitempty"`
	Labels   map[string]string    `json:"labels,omitempty"`
	Images   []string             `json:"images,omitempty"` // names of the container images inside
	Paths    []string             `json:"paths,omitempty"`  // of objects and scripts
	Programs []string             `json:"programs,omitempty"`
	Patches  []artifact.Reference `json:"patches,omitempty"`
	Settings map[string]string    `json:"settings,omitempty"`
	Config   map[string]string    `json:"config,omitzero"`   // see runtime.Image
	Service  *registry.Config     `json:"service,omitempty"` // likewise
	Brought  []runtime.Object     `json:"brought,omitempty"` // in the cluster
	Voted    bool                 `json:"voted,omitempty"`   // of the cluster, beside its first image: see runtime.Cluster
}

// kept returns what the state keeps of an image.
func kept(i runtime.Image) madeOf {
	needed := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(p string) bool {
			top, _, inside := strings.Cut(p, "/")
			return inside && top != "manifests" && top != "scripts" && top != "images" && !(top == "lib" && path.Ext(p) == ".sh")
		})
	}
	var config map[string]string
	if driver, err := distros.New(i); err == nil {
		config = runtime.KeepConfig(driver, i)
	}
	return madeOf{
		Ref: i.Ref, Digest: i.Digest, Kind: i.Kind, Env: i.Env, Cmd: i.Cmd, Labels: i.Labels,
		Images: i.Images, Paths: needed(i.Paths), Programs: needed(i.Programs), Patches: i.Patches, Settings: i.Settings, Config: config, Service: i.Service, Brought: i.Brought,
	}
}

// image returns the image as far as it was kept.
func (m madeOf) image() runtime.Image {
	return runtime.Image{
		Ref: m.Ref, Digest: m.Digest, Kind: m.Kind, Env: m.Env, Cmd: m.Cmd, Labels: m.Labels,
		Images: m.Images, Paths: m.Paths, Programs: m.Programs, Patches: m.Patches, Settings: m.Settings, Config: m.Config, Service: m.Service, Brought: m.Brought,
	}
}

// save makes this cluster the state on all sides, with the secrets that were made
// for it, and its kubeconfig where there is one.
func (k *known) save(ctx context.Context, c *runtime.Cluster, kubeconfig []byte) error {
	var made []madeOf
	for _, i := range c.Images {
		made = append(made, kept(i))
	}
	service, err := c.ImageConfig()
	if err != nil {
		return fmt.Errorf("save the cluster: %w", err)
	}
	if voter, ok := k.driver.(runtime.Leaver); ok && kubeconfig != nil { // the cluster stands
		c.Voted = voter.Votes(c)
	}
	made[0].Service, made[0].Voted = &service, c.Voted
	raw, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return fmt.Errorf("save the cluster: %w", err)
	}
	files := state.Files{imagesFile: append(raw, '\n')}
	maps.Copy(files, k.made)
	if err := k.keepNamed(files); err != nil {
		return fmt.Errorf("save the cluster: %w", err)
	}
	if kubeconfig != nil {
		files[state.Kubeconfig] = kubeconfig
	}
	return k.held.Save(ctx, c.Clusterfile(), files)
}

func loadImages(s *state.Folder) ([]madeOf, error) {
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
func sameImage(s *state.Folder, c *runtime.Cluster) error {
	made, err := loadImages(s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if made[0].Digest != c.Image().Digest {
		return fmt.Errorf("cluster %s was made of %s (%s), not of this %s (%s): reset it first, or give another --cluster", c.Name, withPatches(made[0].image()), made[0].Digest, withPatches(c.Image()), c.Image().Digest)
	}
	return nil
}
