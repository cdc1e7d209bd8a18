package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
)

func newInspect(env *environment) *cobra.Command {
	var output string
	var airgap bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] REF",
		Short: "Show what an image is",
		Long: `Show what an image of the store is: its digests, labels, settings and layers, for
every platform.

With --airgap prove instead that it is whole: every container image inside is
read and compared with its digests, each of them has all its content, and what
the tree asks for is inside. All that is not so is listed, and the command fails.
REF may be oci-archive:FILE then.`,
		Example: "  sealrt inspect k3s:v1.25.3\n  sealrt inspect -o json k3s:v1.25.3\n  sealrt inspect --airgap k3s:v1.25.3",
		Args:    needArgs("an image reference", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if airgap {
				return inspectAirgap(cmd.Context(), env, args[0], output == "json")
			}
			report, err := inspect(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(env, report)
			}
			return report.print(env.stdout)
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().BoolVar(&airgap, "airgap", false, "prove that all container images inside are whole, and all that are needed")
	return cmd
}

// reportJSON is what inspect prints.
type reportJSON struct {
	Ref       string        `json:"ref"`
	Digest    string        `json:"digest"`
	MediaType string        `json:"mediaType"`
	Platforms []variantJSON `json:"platforms"`
}

// variantJSON is the image of one platform.
type variantJSON struct {
	Platform   string            `json:"platform"`
	Digest     string            `json:"digest"`
	Type       string            `json:"type"`
	Distro     string            `json:"distro,omitempty"`
	Version    string            `json:"version,omitempty"`
	Images     string            `json:"imagesDigest,omitempty"` // of images/index.json
	Created    time.Time         `json:"created"`
	Size       int64             `json:"size"` // bytes of config and layers
	Labels     map[string]string `json:"labels,omitempty"`
	Env        []string          `json:"env,omitempty"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Layers     []layerJSON       `json:"layers"`
}

// layerJSON is one layer, or an instruction that made none.
type layerJSON struct {
	CreatedBy string `json:"createdBy,omitempty"`
	MediaType string `json:"mediaType,omitempty"`
	Digest    string `json:"digest,omitempty"`
	DiffID    string `json:"diffID,omitempty"`
	Size      int64  `json:"size"` // bytes in a registry
	Comment   string `json:"comment,omitempty"`
}

// inspect describes an image of the store.
func inspect(ctx context.Context, env *environment, name string) (*reportJSON, error) {
	n, versions, err := storedImage(ctx, env, name)
	if err != nil {
		return nil, err
	}
	report := &reportJSON{Ref: n.Ref.Familiar(), Digest: n.Desc.Digest.String(), MediaType: string(n.Desc.MediaType)}
	for _, v := range versions {
		kind, c := artifact.KindOf(v.config), v.config.Config
		j := variantJSON{
			Platform: v.platform(), Digest: v.desc.Digest.String(), Type: kind.Type, Distro: kind.Distro, Version: kind.Version,
			Images: c.Labels[artifact.LabelImagesDigest], Created: v.config.Created.Time, Size: artifact.Size(v.manifest),
			Labels: c.Labels, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
		}
		for _, l := range layersOf(v) {
			if l.Digest != "" {
				j.Layers = append(j.Layers, l)
			}
		}
		report.Platforms = append(report.Platforms, j)
	}
	return report, nil
}

// storedImage reads an image of the store for all platforms that are there.
func storedImage(ctx context.Context, env *environment, name string) (artifact.Named, []variant, error) {
	store, refs, err := env.stored(ctx, []string{name})
	if err != nil {
		return artifact.Named{}, nil, err
	}
	n := artifact.Named{Ref: refs[0]}
	if n.Desc, err = store.Resolve(ctx, n.Ref); err != nil {
		return n, nil, err
	}
	versions, err := variants(ctx, store, n)
	if err == nil && len(versions) == 0 {
		err = fmt.Errorf("%s: the store has none of its platforms: pull it again", n.Ref.Familiar())
	}
	return n, versions, err
}

// layersOf joins the history of an image with its layers.
func layersOf(v variant) []layerJSON {
	var list []layerJSON
	next := 0
	add := func(h v1.History) {
		l := layerJSON{CreatedBy: h.CreatedBy, Comment: h.Comment}
		if !h.EmptyLayer && next < len(v.manifest.Layers) {
			d := v.manifest.Layers[next]
			l.MediaType, l.Digest, l.Size = string(d.MediaType), d.Digest.String(), d.Size
			if next < len(v.config.RootFS.DiffIDs) {
				l.DiffID = v.config.RootFS.DiffIDs[next].String()
			}
			next++
		}
		list = append(list, l)
	}
	for _, h := range v.config.History {
		add(h)
	}
	for next < len(v.manifest.Layers) { // the history says less than there is
		add(v1.History{})
	}
	return list
}

// print writes the report for people.
func (r *reportJSON) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	row("image", r.Ref)
	row("digest", r.Digest)
	for _, p := range r.Platforms {
		fmt.Fprintln(w)
		row("platform", p.Platform)
		row("manifest", p.Digest)
		row("type", strings.TrimSpace(p.Type+" "+p.Distro+" "+p.Version))
		row("images", p.Images)
		if !p.Created.IsZero() {
			row("created", p.Created.UTC().Format(time.RFC3339))
		}
		row("size", sizeText(p.Size))
		for _, name := range slices.Sorted(maps.Keys(p.Labels)) {
			row("label", name+"="+p.Labels[name])
		}
		for _, e := range p.Env {
			row("env", e)
		}
		row("entrypoint", strings.Join(p.Entrypoint, " "))
		row("cmd", strings.Join(p.Cmd, " "))
		for _, l := range p.Layers {
			row("layer", fmt.Sprintf("%s  %s  %s", l.Digest, sizeText(l.Size), l.what()))
		}
	}
	return w.Flush()
}

// what says how the layer came to be, with the remark that marks what another
// machine may make otherwise.
func (l layerJSON) what() string {
	if l.Comment == "" {
		return oneLine(l.CreatedBy)
	}
	return oneLine(l.CreatedBy) + "  (" + oneLine(l.Comment) + ")"
}

// oneLine makes one line of a text, cut to a readable length.
func oneLine(s string) string {
	const most = 80
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}
