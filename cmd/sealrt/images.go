package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
)

func newImages(env *environment) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "images",
		Short:   "List the images of the store",
		Long:    "List the images of the store with what they are, the platforms they are for, and\ntheir size as a registry counts it.",
		Example: "  sealrt images\n  sealrt images -o json",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := listImages(cmd.Context(), env)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(env, list)
			}
			return printImages(env, list)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// imageJSON is one line of images.
type imageJSON struct {
	Ref       string   `json:"ref"`
	Digest    string   `json:"digest"`
	MediaType string   `json:"mediaType"`
	Type      string   `json:"type,omitempty"`
	Distro    string   `json:"distro,omitempty"`
	Version   string   `json:"version,omitempty"`
	Platforms []string `json:"platforms"`
	Size      int64    `json:"size"`              // bytes of all different blobs
	Problem   string   `json:"problem,omitempty"` // why the image cannot be read
}

// listImages describes every name in the store. An image that cannot be read is
// in the list with its problem.
func listImages(ctx context.Context, env *environment) ([]imageJSON, error) {
	store, err := env.openStore()
	if err != nil {
		return nil, err
	}
	named, err := store.Refs(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]imageJSON, len(named))
	for i, n := range named {
		list[i] = imageJSON{Ref: n.Ref.Familiar(), Digest: n.Desc.Digest.String(), MediaType: string(n.Desc.MediaType), Platforms: []string{}}
		versions, err := variants(ctx, store, n)
		if err != nil {
			list[i].Problem = err.Error()
			env.note("%s is damaged: %v", list[i].Ref, err)
			continue
		}
		list[i].describe(versions)
	}
	return list, nil
}

// describe fills in what the image is; of several platforms the first speaks.
func (j *imageJSON) describe(versions []variant) {
	seen := map[v1.Hash]bool{}
	for i, v := range versions {
		if i == 0 {
			kind := artifact.KindOf(v.config)
			j.Type, j.Distro, j.Version = kind.Type, kind.Distro, kind.Version
		}
		j.Platforms = append(j.Platforms, v.platform())
		for _, d := range append([]v1.Descriptor{v.desc, v.manifest.Config}, v.manifest.Layers...) {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				j.Size += d.Size
			}
		}
	}
}

// variant is the image of one platform.
type variant struct {
	desc     v1.Descriptor
	manifest *v1.Manifest
	config   *v1.ConfigFile
}

// platform returns the platform as os/arch[/variant], "any" if there is none.
func (v variant) platform() string {
	if p := v.config.Platform(); p != nil && p.OS != "" {
		return p.String()
	}
	return "any"
}

// variants reads the image of every platform that n has in a store or archive.
func variants(ctx context.Context, store artifact.Source, n artifact.Named) ([]variant, error) {
	list := []v1.Descriptor{n.Desc}
	if n.Desc.MediaType.IsIndex() {
		raw, err := artifact.ReadManifest(ctx, store, n.Ref, n.Desc)
		if err != nil {
			return nil, err
		}
		index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("%s: index: %w", n.Ref.Familiar(), err)
		}
		list = index.Manifests
	}
	var found []variant
	for _, d := range list {
		if d.Platform != nil && d.Platform.OS == "unknown" {
			continue // a note that a build tool attached, no image
		}
		desc, manifest, config, err := artifact.Manifest(ctx, store, n.Ref.WithDigest(d.Digest), nil)
		if errors.Is(err, artifact.ErrNotFound) && len(list) > 1 {
			continue // only some platforms were copied
		}
		if err != nil {
			return nil, err
		}
		found = append(found, variant{desc, manifest, config})
	}
	return found, nil
}

// printImages prints a table.
func printImages(env *environment, list []imageJSON) error {
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tDIGEST\tTYPE\tVERSION\tPLATFORMS\tSIZE")
	for _, i := range list {
		if i.Problem != "" {
			fmt.Fprintf(w, "%s\t%s\tdamaged\t\t\t\n", i.Ref, strings.TrimPrefix(i.Digest, "sha256:")[:12])
			continue
		}
		version := strings.TrimSpace(i.Distro + " " + i.Version)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", i.Ref, strings.TrimPrefix(i.Digest, "sha256:")[:12], i.Type, version, strings.Join(i.Platforms, ","), sizeText(i.Size))
	}
	return w.Flush()
}
