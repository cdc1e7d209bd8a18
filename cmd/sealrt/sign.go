package main

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/trust"
)

func newSign(env *environment) *cobra.Command {
	var f keyFlags
	var recursive bool
	var generate, kind string
	cmd := &cobra.Command{
		Use:   "sign [flags] --key FILE REF...",
		Short: "Sign images with a key",
		Long: `Sign images with a private key, as cosign does. An image of the store is signed there, and
push and save carry its signature along; one that only a registry has is signed
there. What the key has signed already is left as it is. The digests of what is
signed are printed.

--generate-key makes a key pair, PREFIX.key and PREFIX.pub, in cosign's format.
A passphrase is never taken from the command line.`,
		Example: `  sealrt sign --generate-key release
  sealrt sign --key release.key k3s:v1.25.3`,
		Args: func(cmd *cobra.Command, args []string) error {
			if generate != "" {
				return needArgs("", 0, 0)(cmd, args)
			}
			return needArgs("an image reference", 1, -1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if generate != "" && f.file != "" {
				return usageError{errors.New("sign: --generate-key makes a key, and --key signs with one: use one of them")}
			}
			if generate != "" {
				return generateKey(env, &f, generate, kind)
			}
			return sign(cmd.Context(), env, &f, recursive, args)
		},
	}
	flags := cmd.Flags()
	f.register(flags)
	flags.BoolVarP(&recursive, "recursive", "r", false, "of an image for several platforms sign the image for each too")
	flags.StringVar(&generate, "generate-key", "", "make a key pair `PREFIX`.key and PREFIX.pub, and sign nothing")
	flags.Var(newChoice(&kind, string(trust.ECDSA), string(trust.ECDSA), string(trust.Ed25519)), "key-type", "of the key pair that is made: ecdsa (P-256) or ed25519")
	env.registryFlags(flags)
	return cmd
}

func sign(ctx context.Context, env *environment, f *keyFlags, recursive bool, args []string) error {
	signer, err := f.open(env, "sign")
	if err != nil {
		return err
	}
	return eachSignable(ctx, env, f, recursive, args, func(s *signable, ref artifact.Reference, d v1.Descriptor) error {
		added, err := trust.Sign(ctx, s.at, ref, d, signer, f.forms())
		if err != nil {
			return err
		}
		if len(added) == 0 {
			env.note("%s was signed with %s already", ref.Familiar(), f.file)
		} else {
			env.note("signed %s with %s, in %s", ref.Familiar(), f.file, s.where)
		}
		_, err = fmt.Fprintln(env.stdout, d.Digest)
		return err
	})
}

// eachSignable calls do for every image that is named, and for those in it.
func eachSignable(ctx context.Context, env *environment, f *keyFlags, recursive bool, args []string, do func(*signable, artifact.Reference, v1.Descriptor) error) error {
	for _, arg := range args {
		s, err := openSignable(ctx, env, arg, f.remote)
		if err != nil {
			return err
		}
		err = s.each(ctx, recursive, func(ref artifact.Reference, d v1.Descriptor) error { return do(s, ref, d) })
		if err := errors.Join(err, s.free()); err != nil {
			return err
		}
	}
	return nil
}
