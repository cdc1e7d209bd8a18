package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/contents"
	"github.com/sealrt/sealrt/artifact/sbom"
	"github.com/sealrt/sealrt/artifact/store"
)

// sbomFlags are the flags of sbom.
type sbomFlags struct {
	format, output, platform string
	attach                   bool
}

func newSBOM(env *environment) *cobra.Command {
	var o sbomFlags
	cmd := &cobra.Command{
		Use:   "sbom [flags] REF",
		Short: "Write the bill of materials of an image",
		Long: `Write the bill of materials of a cluster image: the container images inside with
the packages and Go programs in them, and the programs, charts and files of the
tree. REF is in the store, in a registry, from where it is pulled, or
oci-archive:FILE. Of several platforms this machine's is taken.

With --attach the document is kept in the store beside the image, for every
platform, and the digest of what holds it is printed for each. Attaching the same
document again changes nothing.`,
		Example: "  sealrt sbom k3s:v1.25.3 > sbom.spdx.json\n  sealrt sbom --format cyclonedx --attach k3s:v1.25.3",
		Args:    needArgs("an image reference", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.attach && o.output != "" {
				return usageError{errors.New("sbom: --attach keeps the document in the store: leave out -o")}
			}
			return billOf(cmd.Context(), env, args[0], o)
		},
	}
	flags := cmd.Flags()
	flags.Var(newChoice(&o.format, string(sbom.SPDX), string(sbom.SPDX), string(sbom.CycloneDX)), "format", "write spdx (2.3) or cyclonedx (1.6), as JSON")
	flags.StringVarP(&o.output, "output", "o", "", "write to `FILE` instead of stdout")
	flags.BoolVar(&o.attach, "attach", false, "keep the document in the store beside the image")
	flags.StringVar(&o.platform, "platform", "", "of an image for several platforms take only that for `OS/ARCH`")
	env.registryFlags(flags)
	return cmd
}

// billOf writes the document about an image, or attaches one for every platform.
func billOf(ctx context.Context, env *environment, arg string, o sbomFlags) error {
	store, err := env.heldStore(ctx)
	if err != nil {
		return err
	}
	ref, src, err := locate(ctx, env, store, arg)
	if err != nil {
		return err
	}
	versions, err := versionsOf(ctx, src, ref, o.platform)
	if err != nil {
		return err
	}
	b := &billing{env: env, ref: ref, src: src, format: sbom.Format(o.format)}
	if !o.attach {
		return writeTo(env, o.output, func(w io.Writer) error {
			_, err := b.write(ctx, w, forThisMachine(versions))
			return err
		})
	}
	place, ok := src.(sbom.Place)
	if !ok {
		return fmt.Errorf("%s: nothing can be attached there: load the image, attach, and save it again", arg)
	}
	return b.attach(ctx, place, versions)
}

// billing is the writing of documents about one image.
type billing struct {
	env    *environment
	ref    artifact.Reference
	src    artifact.Source
	format sbom.Format
}

// write writes the document about the image for one platform.
func (b *billing) write(ctx context.Context, w io.Writer, v variant) (sbom.About, error) {
	about := sbom.About{Ref: b.ref, Digest: v.desc.Digest, Kind: artifact.KindOf(v.config), Created: v.config.Created.Time,
		Tool: "sealrt-" + programVersion().Version}
	if p := v.config.Platform(); p != nil {
		about.Platform = p.String()
	}
	if epoch, err := b.env.created(); err != nil {
		return about, err
	} else if !epoch.IsZero() {
		about.Created = epoch
	}
	found, err := contents.Read(ctx, contents.Cluster{Source: b.src, Ref: b.ref, Manifest: v.manifest, Config: v.config},
		contents.Options{Scratch: os.TempDir(), SHA1: b.format == sbom.SPDX})
	if err != nil {
		return about, err
	}
	for _, note := range found.Notes {
		b.env.note("%s", note)
	}
	return about, sbom.Write(w, b.format, about, found)
}

// attach keeps a document beside the image for every platform.
func (b *billing) attach(ctx context.Context, place sbom.Place, versions []variant) (err error) {
	if store, ok := place.(*store.Store); ok {
		release, err := store.Hold(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	for _, v := range versions {
		var document bytes.Buffer // it grows with the names of what is inside, not with that
		about, err := b.write(ctx, &document, v)
		if err != nil {
			return err
		}
		n, err := sbom.Attach(ctx, place, about, v.desc, b.format, document.Bytes())
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(b.env.stdout, n.Desc.Digest); err != nil {
			return err
		}
	}
	return nil
}

// writeTo writes to a file of that name, which is not touched before all that goes
// into it is known, or to stdout when there is no name.
func writeTo(env *environment, name string, write func(io.Writer) error) error {
	if name == "" {
		return write(env.stdout)
	}
	var whole bytes.Buffer
	if err := write(&whole); err != nil {
		return err
	}
	return os.WriteFile(name, whole.Bytes(), 0o644)
}
