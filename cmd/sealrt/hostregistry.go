package main

import (
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime/registry"
)

// hostRegistry lists the commands by which a client asks the image service of a
// host something. Each prints JSON.
func hostRegistry() []func(*environment) *cobra.Command {
	return []func(*environment) *cobra.Command{
		func(env *environment) *cobra.Command {
			return serviceCommand(env, "image-lacks", "Tell how much of blobs is here", func(cmd *cobra.Command, s *registry.Service) (any, error) {
				var blobs []v1.Descriptor
				if err := json.NewDecoder(env.stdin).Decode(&blobs); err != nil {
					return nil, fmt.Errorf("list of blobs: %w", err)
				}
				return s.Lacks(cmd.Context(), blobs)
			})
		},
		func(env *environment) *cobra.Command {
			return serviceCommand(env, "image-take", "Take images in that a client sends", func(cmd *cobra.Command, s *registry.Service) (any, error) {
				return s.Take(cmd.Context(), env.stdin)
			})
		},
		func(env *environment) *cobra.Command {
			return serviceCommand(env, "image-catch-up", "Fetch what another master has", func(cmd *cobra.Command, s *registry.Service) (any, error) {
				return s.CatchUp(cmd.Context())
			})
		},
		func(env *environment) *cobra.Command {
			var dryRun bool
			cmd := serviceCommand(env, "registry-gc", "Free what no image needs", func(cmd *cobra.Command, s *registry.Service) (any, error) {
				return s.Collect(cmd.Context(), dryRun)
			})
			cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing")
			return cmd
		},
	}
}

// serviceCommand makes a command that prints what ask returns.
func serviceCommand(env *environment, name, short string, ask func(*cobra.Command, *registry.Service) (any, error)) *cobra.Command {
	var settings string
	cmd := &cobra.Command{
		Use:     name,
		Short:   short,
		Example: "  sealrt host " + name + " --settings /var/lib/sealrt/registry/settings.json",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := registry.New(settings, ownImages(env), func(text string) { env.note("%s", text) })
			if err != nil {
				return err
			}
			answer, err := ask(cmd, s)
			if err != nil {
				return err
			}
			return printJSON(env, answer)
		},
	}
	cmd.Flags().StringVar(&settings, "settings", "", "settings of the image service, a `FILE`")
	return cmd
}
