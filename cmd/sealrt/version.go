package main

import (
	"fmt"
	goruntime "runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(env *environment) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of sealrt",
		Example: "  sealrt version -o json",
		Args:    needArgs("", 0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := programVersion()
			if output == "json" {
				return printJSON(env, v)
			}
			_, err := fmt.Fprintf(env.stdout, "sealrt %s %s %s\n", v.Version, v.Go, v.Platform)
			return err
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// versionJSON is what version prints.
type versionJSON struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// programVersion returns what the build recorded.
func programVersion() versionJSON {
	v := versionJSON{Version: "(devel)", Go: goruntime.Version(), Platform: goruntime.GOOS + "/" + goruntime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	return v
}
