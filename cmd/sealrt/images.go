package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

func newImages(env *environment) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "images",
		Short: "List the images of the store",
		Long: `List the images of the store with what they are, the platforms they are for, and
their size as a registry counts it. OWN is what of that no other image has: what
rmi of all its names would free. What signs or describes an image is no image;
inspect lists it.`,
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
	Shared    int64    `json:"sharedSize"`        // of these, what other images have too
	Own       int64    `json:"ownSize"`           // and what only this one has
	Problem   string   `json:"problem,omitempty"` // why the image cannot be read
}

// listImages describes every name in the store. An image that cannot be read is
// in the list with its problem.
func listImages(ctx context.Context, env *environment) ([]imageJSON, error) {
	store, err := env.heldStore(ctx)
	if err != nil {
		return nil, err
	}
	named, err := store.Refs(ctx)
	if err != nil {
		return nil, err
	}
	named = slices.DeleteFunc(named, isAttachment)
	list := make([]imageJSON, len(named))
	blobs := make([]map[v1.Hash]int64, len(named))
	used := newUsage()
	for i, n := range named {
		list[i] = imageJSON{Ref: n.Ref.Familiar(), Digest: n.Desc.Digest.String(), MediaType: string(n.Desc.MediaType), Platforms: []string{}}
		versions, err := variants(ctx, store, n)
		if err != nil {
			list[i].Problem = err.Error()
			env.note("%s is damaged: %v", list[i].Ref, err)
			continue
		}
		list[i].describe(versions)
		blobs[i] = allBlobs(n.Desc, versions)
		used.add(n.Desc.Digest, blobs[i])
	}
	for i := range list {
		list[i].Shared, list[i].Own = used.split(blobs[i])
		list[i].Size = list[i].Shared + list[i].Own
	}
	return list, nil
}

// isAttachment says whether a name is that of what is attached to an image, which
// tools that know of no such thing store like an image.
func isAttachment(n artifact.Named) bool { return layout.SubjectOfTag(n.Ref) != v1.Hash{} }

// describe fills in what the image is; of several platforms the first speaks.
func (j *imageJSON) describe(versions []variant) {
	for i, v := range versions {
		if i == 0 {
			kind := artifact.KindOf(v.config)
			j.Type, j.Distro, j.Version = kind.Type, kind.Distro, kind.Version
		}
		j.Platforms = append(j.Platforms, v.platform())
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
		desc, manifest, config, err := artifact.Manifest(ctx, resolved{store, d}, n.Ref.WithDigest(d.Digest), nil)
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

// resolved is a place in which one manifest was found already: an archive finds
// only those by their digest that have a name.
type resolved struct {
	artifact.Source
	desc v1.Descriptor
}

// Resolve implements artifact.Source.
func (r resolved) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return r.desc, nil
}

// printImages prints a table.
func printImages(env *environment, list []imageJSON) error {
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tDIGEST\tTYPE\tVERSION\tPLATFORMS\tSIZE\tOWN")
	for _, i := range list {
		if i.Problem != "" {
			fmt.Fprintf(w, "%s\t%s\tdamaged\t\t\t\t\n", i.Ref, strings.TrimPrefix(i.Digest, "sha256:")[:12])
			continue
		}
		version := strings.TrimSpace(i.Distro + " " + i.Version)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i.Ref, strings.TrimPrefix(i.Digest, "sha256:")[:12], printable(i.Type), printable(version), printable(strings.Join(i.Platforms, ",")), sizeText(i.Size), sizeText(i.Own))
	}
	return w.Flush()
}
