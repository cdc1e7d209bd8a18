package main

import (
	"fmt"
	"slices"
	"text/tabwriter"

	goruntime "runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
)

func newHistory(env *environment) *cobra.Command {
	var output, platform string
	var whole bool
	cmd := &cobra.Command{
		Use:   "history [flags] REF",
		Short: "Show how an image was made",
		Long: `Show the instructions that an image was made by, the first one first, and the
layers they made. REF is an image of the store or an archive, oci-archive:FILE.
Of several platforms this machine's is shown, or the one that is named.`,
		Example: "  sealrt history k3s:v1.25.3\n  sealrt history --no-trunc oci-archive:k3s.tar",
		Args:    needArgs("an image reference", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, src, err := openImage(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			versions, err := versionsOf(cmd.Context(), src, ref, platform)
			if err != nil {
				return err
			}
			list := layersOf(forThisMachine(versions))
			if output == "json" {
				return printJSON(env, list)
			}
			return printHistory(env, list, whole)
		},
	}
	onPlatform(cmd, &platform)
	outputFlag(cmd, &output)
	cmd.Flags().BoolVar(&whole, "no-trunc", false, "cut neither digests nor instructions")
	return cmd
}

// forThisMachine returns the version for this machine's architecture, or the
// first. There must be one.
func forThisMachine(versions []variant) variant {
	here := v1.Platform{OS: "linux", Architecture: goruntime.GOARCH}
	i := slices.IndexFunc(versions, func(v variant) bool {
		p := v.config.Platform()
		return p != nil && artifact.MatchPlatform(*p, here)
	})
	return versions[max(i, 0)]
}

// printHistory prints a table, whole or cut to a readable width.
func printHistory(env *environment, list []layerJSON, whole bool) error {
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LAYER\tSIZE\tCREATED BY")
	for _, l := range list {
		digest, size, what := "", "", l.what(whole)
		if h, err := v1.NewHash(l.Digest); err == nil {
			if digest, size = shortDigest(h), sizeText(l.Size); whole {
				digest = l.Digest
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", digest, size, what)
	}
	return w.Flush()
}
