package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// choice is the value of a flag that is one of several words.
type choice struct {
	value *string
	words []string
}

// newChoice makes a flag's value of words; value gets the default.
func newChoice(value *string, standard string, words ...string) *choice {
	*value = standard
	return &choice{value, words}
}

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("it is one of %s", strings.Join(c.words, ", "))
	}
	*c.value = s
	return nil
}

// String implements pflag.Value.
func (c *choice) String() string { return *c.value }

// Type implements pflag.Value.
func (c *choice) Type() string { return "string" }

// outputFlag defines -o json.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().VarP(newChoice(output, "", "json"), "output", "o", "print `FORMAT` instead of a text for people: json")
}

// printJSON prints a value as indented JSON.
func printJSON(env *environment, value any) error {
	enc := json.NewEncoder(env.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

// needArgs accepts min to max arguments; a negative max is no limit. what names
// one of them with its article.
func needArgs(what string, min, max int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < min && min == 1:
			return fmt.Errorf("%s: %s is missing", cmd.Name(), what)
		case len(args) < min:
			return fmt.Errorf("%s: %s are needed, %d given", cmd.Name(), what, len(args))
		case max >= 0 && len(args) > max:
			return fmt.Errorf("%s: %q is one argument too many", cmd.Name(), args[max])
		}
		return nil
	}
}

// parseRef reads a reference from the command line. What another place begins
// with would be a repository of docker.io.
func parseRef(arg string) (artifact.Reference, error) {
	for _, place := range []string{archivePrefix, "docker-archive:", "docker-daemon:", "containers-storage:"} {
		if strings.HasPrefix(arg, place) {
			return artifact.Reference{}, usageError{fmt.Errorf("%s: an image of the store or of a registry is to be named here: `sealrt load` reads archives, `sealrt copy` writes them", arg)}
		}
	}
	ref, err := artifact.ParseReference(arg)
	if err != nil {
		return ref, usageError{err}
	}
	return ref, nil
}

// parseRefs reads references from the command line.
func parseRefs(args []string) ([]artifact.Reference, error) {
	refs := make([]artifact.Reference, len(args))
	for i, arg := range args {
		ref, err := parseRef(arg)
		if err != nil {
			return nil, err
		}
		refs[i] = ref
	}
	return refs, nil
}

// stored returns the references of the command line, each of which the store
// must have. The beginning of a digest stands for a name that it has.
func (e *environment) stored(ctx context.Context, args []string) (*store.Store, []artifact.Reference, error) {
	refs, err := parseRefs(args)
	if err != nil {
		return nil, nil, err
	}
	store, err := e.heldStore(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i, ref := range refs {
		_, err := store.Resolve(ctx, ref)
		if errors.Is(err, artifact.ErrNotFound) && imageID.MatchString(args[i]) {
			var found []artifact.Named
			if found, err = findNames(ctx, store, args[i]); err == nil {
				refs[i] = found[0].Ref
			}
		} else if errors.Is(err, artifact.ErrNotFound) {
			err = fmt.Errorf("%w: `sealrt images` lists what is there, `sealrt pull` fetches more", err)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return store, refs, nil
}

// parsePlatforms reads --platform.
func parsePlatforms(list []string) ([]v1.Platform, error) {
	platforms := make([]v1.Platform, len(list))
	for i, text := range list {
		p, err := v1.ParsePlatform(text)
		if err != nil || p.OS == "" || p.Architecture == "" {
			return nil, usageError{fmt.Errorf("--platform %q: write os/arch or os/arch/variant, like linux/arm64", text)}
		}
		platforms[i] = *p
	}
	return platforms, nil
}
