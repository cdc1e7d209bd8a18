package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact/trust"
)

// verifyFlags say what verify wants of an image.
type verifyFlags struct {
	keys        []string
	attestation string
	policy      string
	remote      bool
	output      string
}

func newVerify(env *environment) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [flags] {--key FILE | --policy FILE} REF",
		Short: "Check who signed an image",
		Long: `Check that an image is signed by one of the keys, or that it fits a policy, without asking
anybody but the place where it lies: the store, an archive, or its registry when the
store lacks it. Signatures of cosign and of sealrt count; certificates and transparency
logs (keyless signing) are not looked at. It exits 1 when the image is not as it has to be.`,
		Example: `  sealrt verify --key release.pub k3s:v1.25.3
  sealrt verify --key release.pub --attestation spdxjson oci-archive:k3s.tar
  sealrt verify --policy policy.yaml registry.example.com/k3s:v1.25.3`,
		Args: needArgs("an image reference", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case (len(f.keys) > 0) == (f.policy != ""):
				return usageError{errors.New("verify: name keys with --key, or a policy with --policy: certificates (keyless signing) are checked against the network, and not here")}
			case f.policy != "" && f.attestation != "":
				return usageError{errors.New("verify: --attestation goes with --key")}
			case f.policy != "":
				return verifyPolicy(cmd.Context(), env, f, args[0])
			}
			return verify(cmd.Context(), env, f, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.keys, "key", nil, "one who may sign: the public key in `FILE`; repeatable")
	flags.StringVar(&f.attestation, "attestation", "", "require that one of the keys attested something of this `TYPE`, rather than signed")
	flags.StringVar(&f.policy, "policy", "", "check the rules in `FILE`, as run does")
	flags.BoolVar(&f.remote, "remote", false, "look in the registry, even when the store has the image too")
	outputFlag(cmd, &f.output)
	env.registryFlags(flags)
	return cmd
}

// verifyJSON is what verify prints.
type verifyJSON struct {
	Ref          string      `json:"ref"`
	Digest       string      `json:"digest"`
	MediaType    string      `json:"mediaType"`
	Verified     bool        `json:"verified"`
	Reason       string      `json:"reason,omitempty"` // why it is not
	Signatures   []foundJSON `json:"signatures"`
	Attestations []foundJSON `json:"attestations"`
}

// foundJSON is a signature or attestation that a key made.
type foundJSON struct {
	Key       string          `json:"key"`
	Form      string          `json:"form"` // tag, bundle
	Manifest  string          `json:"manifest"`
	Valid     bool            `json:"valid"`   // it is about this very image
	Digests   []string        `json:"digests"` // of what it is about
	Type      string          `json:"type,omitempty"`
	Statement json.RawMessage `json:"statement,omitempty"` // in-toto
}

func verify(ctx context.Context, env *environment, f verifyFlags, arg string) error {
	var keys trust.Keys
	for _, file := range f.keys {
		key, err := trust.LoadKey(file)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	wanted := ""
	if f.attestation != "" {
		var err error
		if wanted, err = trust.ParsePredicateType(f.attestation); err != nil {
			return usageError{fmt.Errorf("verify: %w", err)}
		}
	}
	ref, src, err := whereIs(ctx, env, arg, f.remote)
	if err != nil {
		return err
	}
	img, err := trust.Find(ctx, src, ref)
	if err != nil {
		return err
	}
	report, err := keys.Examine(ctx, img)
	if err != nil {
		return err
	}
	j := asVerifyJSON(img, report, wanted)
	reason := refusal(report, wanted, ref.Familiar())
	if j.Verified = reason == nil; reason != nil {
		j.Reason = reason.Error()
	}
	if f.output == "json" {
		err = printJSON(env, j)
	} else if j.Verified {
		err = j.print(env)
	}
	if err == nil && reason != nil {
		err = fmt.Errorf("%s: %w", ref.Familiar(), reason)
	}
	return err
}

// refusal says why an image is not as it has to be, and what to do.
func refusal(r trust.Report, attestation, ref string) error {
	switch {
	case attestation == "" && len(r.Signatures()) == 0:
		return fmt.Errorf("%w: name the key of who signed it, or sign it with `sealrt sign --key KEY %s`", r.Refusal(), ref)
	case attestation != "" && len(r.Attestations(attestation)) == 0:
		return fmt.Errorf("%w: name the key of who attested it, or attest it with `sealrt attest --key KEY --type %s --predicate FILE %s`", r.RefusalOf(attestation), attestation, ref)
	}
	return nil
}

func asVerifyJSON(img trust.Image, r trust.Report, wanted string) *verifyJSON {
	d := img.Subjects[0]
	j := &verifyJSON{Ref: img.Ref.Familiar(), Digest: d.Digest.String(), MediaType: string(d.MediaType), Signatures: []foundJSON{}, Attestations: []foundJSON{}}
	for _, f := range r.Found {
		if f.Key == nil {
			continue
		}
		found := foundJSON{Key: f.Key.Name(), Form: string(f.Form), Manifest: f.Manifest.Familiar(), Valid: f.Valid, Type: f.Predicate, Digests: []string{}}
		for _, h := range f.Digests {
			found.Digests = append(found.Digests, h.String())
		}
		if f.Predicate == "" {
			j.Signatures = append(j.Signatures, found)
			continue
		}
		if f.Predicate == wanted {
			found.Statement = f.Statement
		}
		j.Attestations = append(j.Attestations, found)
	}
	return j
}

// print writes a table.
func (j *verifyJSON) print(env *environment) error {
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tSIGNED\tDIGEST\tFORM")
	for _, list := range [][]foundJSON{j.Signatures, j.Attestations} {
		for _, f := range list {
			if f.Valid {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Key, cmp.Or(f.Type, "the image"), strings.TrimPrefix(j.Digest, "sha256:")[:12], f.Form)
			}
		}
	}
	return w.Flush()
}
