package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

func newImageList(env *environment) *cobra.Command {
	var output, platform string
	cmd := &cobra.Command{
		Use:   "list [flags] REF",
		Short: "List the container images inside a cluster image",
		Long: `List the container images inside a cluster image: every name by which a node finds
one, the digest that it leads to, the platforms that are inside and the size of
all that it consists of. Signatures are listed as such.`,
		Example: "  sealrt image list k3s:v1.25.3\n  sealrt image list -o json oci-archive:k3s.tar",
		Args:    needArgs("an image reference", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := listInside(cmd.Context(), env, args[0], platform)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(env, list)
			}
			return printInside(env, list)
		},
	}
	cmd.Flags().StringVar(&platform, "platform", "", "of a cluster image for several platforms list only that for `OS/ARCH`")
	outputFlag(cmd, &output)
	env.registryFlags(cmd.Flags())
	return cmd
}

// insideJSON is one line of image list.
type insideJSON struct {
	Name      string   `json:"name"` // in full, as container runtimes look for it
	Digest    string   `json:"digest"`
	MediaType string   `json:"mediaType"`
	Platforms []string `json:"platforms"`           // that are inside
	Size      int64    `json:"size"`                // bytes of all that is inside of it
	Signature bool     `json:"signature,omitempty"` // or else what is attached to an image; no image for container runtimes
	Inside    string   `json:"inside"`              // the platform of the cluster image
}

func listInside(ctx context.Context, env *environment, arg, platform string) ([]insideJSON, error) {
	all, err := openInside(ctx, env, arg, platform)
	if err != nil {
		return nil, err
	}
	list := []insideJSON{}
	for _, in := range all {
		if in.images == nil {
			continue
		}
		lines, err := in.list(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, lines...)
	}
	return list, nil
}

// list describes the container images of one platform; there are some.
func (i inside) list(ctx context.Context) ([]insideJSON, error) {
	var list []insideJSON
	for _, e := range i.images.Entries() {
		d, err := layout.Describe(ctx, i.images, e)
		if err != nil {
			return nil, err
		}
		line := insideJSON{Name: e.Name, Digest: e.Desc.Digest.String(), MediaType: string(e.Desc.MediaType),
			Platforms: append([]string{}, d.Platforms...), Size: d.Size, Inside: i.platform()}
		if e.Name == "" {
			line.Name, line.Signature = e.Carried, e.Carried != ""
		}
		list = append(list, line)
	}
	return list, nil
}

// printInside prints a table.
func printInside(env *environment, list []insideJSON) error {
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tDIGEST\tPLATFORMS\tSIZE")
	for _, i := range list {
		platforms := strings.Join(i.Platforms, ",")
		switch {
		case i.Signature:
			platforms = "signature"
		case platforms == "":
			platforms = "any"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", cmp.Or(familiar(i.Name), "(no name)"), strings.TrimPrefix(i.Digest, "sha256:")[:12], platforms, sizeText(i.Size))
	}
	return w.Flush()
}

// familiar returns the short form of a name, as people type it.
func familiar(name string) string {
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return name
	}
	return ref.Familiar()
}
