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
	var output string
	cmd := &cobra.Command{
		Use:     "history [flags] REF",
		Short:   "Show how an image was made",
		Long:    "Show the instructions that an image of the store was made by, the first one first,\nand the layers they made. Of several platforms this machine's is shown.",
		Example: "  sealrt history k3s:v1.25.3",
		Args:    needArgs("an image reference", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, versions, err := storedImage(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			list := layersOf(forThisMachine(versions))
			if output == "json" {
				return printJSON(env, list)
			}
			return printHistory(env, list)
		},
	}
	outputFlag(cmd, &output)
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

// printHistory prints a table.
func printHistory(env *environment, list []layerJSON) error {
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LAYER\tSIZE\tCREATED BY")
	for _, l := range list {
		digest, size := "", ""
		if h, err := v1.NewHash(l.Digest); err == nil {
			digest, size = shortDigest(h), sizeText(l.Size)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", digest, size, l.what())
	}
	return w.Flush()
}
