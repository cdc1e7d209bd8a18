package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/trust"
)

func newAttest(env *environment) *cobra.Command {
	var f keyFlags
	var recursive bool
	var kind, predicate string
	cmd := &cobra.Command{
		Use:   "attest [flags] --key FILE --type TYPE --predicate FILE REF...",
		Short: "Attach a signed statement to images",
		Long: `Sign what a file says of images, and attach it to them, as cosign attest does: a list of
contents, where it was built, what was scanned. Images are found as by sign. What the
key has attested in the same words already is left as it is. The digests of the
images are printed.

TYPE is ` + strings.Join(trust.PredicateTypes(), ", ") + `,
or a URI.`,
		Example: "  sealrt attest --key release.key --type spdxjson --predicate k3s.spdx.json k3s:v1.25.3",
		Args:    needArgs("an image reference", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if predicate == "" || kind == "" {
				return usageError{errors.New("attest: say with --type and --predicate FILE what is attested")}
			}
			return attest(cmd.Context(), env, &f, recursive, kind, predicate, args)
		},
	}
	flags := cmd.Flags()
	f.register(flags)
	flags.BoolVarP(&recursive, "recursive", "r", false, "of an image for several platforms attest it of the image for each too")
	flags.StringVar(&kind, "type", "", "`TYPE` of what is attested")
	flags.StringVar(&predicate, "predicate", "", "attest what is in `FILE`, - for standard input")
	env.registryFlags(flags)
	return cmd
}

func attest(ctx context.Context, env *environment, f *keyFlags, recursive bool, kind, file string, args []string) error {
	predicateType, err := trust.ParsePredicateType(kind)
	if err != nil {
		return usageError{fmt.Errorf("attest: %w", err)}
	}
	predicate, err := readPredicate(env, file)
	if err != nil {
		return fmt.Errorf("attest: %w", err)
	}
	if kind == "spdxjson" && !json.Valid(predicate) { // as text it would be signed under the same type
		return fmt.Errorf("attest: %s is no JSON: name a list of contents in SPDX's JSON, or --type spdx for its text", file)
	}
	signer, err := f.open(env, "attest")
	if err != nil {
		return err
	}
	return eachSignable(ctx, env, f, recursive, args, func(s *signable, ref artifact.Reference, d v1.Descriptor) error {
		added, err := trust.Attest(ctx, s.at, ref, d, signer, predicateType, predicate, f.forms())
		if err != nil {
			return err
		}
		if len(added) == 0 {
			env.note("%s was attested this with %s already", ref.Familiar(), f.file)
		} else {
			env.note("attested %s of %s with %s, in %s", kind, ref.Familiar(), f.file, s.where)
		}
		_, err = fmt.Fprintln(env.stdout, d.Digest)
		return err
	})
}

// readPredicate reads what is attested; what is too much is read in part, so that
// it is refused.
func readPredicate(env *environment, file string) ([]byte, error) {
	r := env.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	return io.ReadAll(io.LimitReader(r, trust.MaxPredicate+1))
}
