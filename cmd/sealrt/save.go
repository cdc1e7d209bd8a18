package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	goruntime "runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/archive"
	"github.com/sealrt/sealrt/artifact/store"
)

// saveFlags is what the command line of save says.
type saveFlags struct {
	file, format, platform string
	base                   []string
	split                  size
}

func newSave(env *environment) *cobra.Command {
	var f saveFlags
	cmd := &cobra.Command{
		Use:   "save [flags] REF... -o FILE",
		Short: "Write images to an archive",
		Long: `Write images of the store to one OCI archive; - is standard output. Blobs that
several images share are in it once, signatures and lists of contents that are
attached to images are in it too, and the same images give the same bytes.

With --base the archive is a delta: layers that the other side has are left out
and listed. What it has, an image says that was sent there, an archive that was
loaded there, or the file that sealrt inventory wrote there.

With --split it becomes volumes, FILE.001, FILE.002 and so on, for discs. Each
says what it is, so that they load in any order.

An archive of the format docker is for docker load: it keeps tags alone, the
image of one platform, and layers uncompressed.`,
		Example: `  sealrt save k3s:v1.25.3 -o k3s.tar
  sealrt save k3s:v1.25.3 -o - | ssh host sealrt load -
  sealrt save k3s:v1.26.0 --base k3s:v1.25.3 -o delta.tar
  sealrt save k3s:v1.25.3 --split 4GiB -o /media/k3s.tar`,
		Args: needArgs("an image reference", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return usageError{err}
			}
			store, refs, err := env.stored(cmd.Context(), args)
			if err != nil {
				return err
			}
			return f.save(cmd.Context(), env, store, refs)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "output", "o", "", "the archive, a `FILE` or -")
	flags.StringArrayVar(&f.base, "base", nil, "leave out what the other side has: an image `REF`, an archive, or an inventory; may be repeated")
	flags.Var(&f.split, "split", "write volumes of at most this many bytes, like 4GiB or 700MB")
	flags.Var(newChoice(&f.format, "oci", "oci", "oci-archive", "docker", "docker-archive"), "format", "kind of the archive: oci or docker")
	flags.StringVar(&f.platform, "platform", "", "of images for several platforms only that for `OS/ARCH`")
	env.registryFlags(flags)
	return cmd
}

func (f *saveFlags) docker() bool { return f.format == "docker" || f.format == "docker-archive" }

func (f *saveFlags) check() error {
	switch {
	case f.file == "":
		return errors.New("save: -o FILE is missing")
	case f.split > 0 && f.file == "-":
		return errors.New("save: --split writes FILE.001 and so on: name a file, not standard output")
	case f.docker() && (f.split > 0 || len(f.base) > 0):
		return errors.New("save: --split and --base are for OCI archives: docker load knows neither")
	}
	return nil
}

func (f *saveFlags) save(ctx context.Context, env *environment, store *store.Store, refs []artifact.Reference) error {
	o := archive.Options{Observe: env.progress()}
	on := v1.Platform{OS: "linux", Architecture: goruntime.GOARCH}
	if f.platform != "" {
		list, err := parsePlatforms([]string{f.platform})
		if err != nil {
			return err
		}
		on, o.Platform = list[0], &list[0]
		for _, ref := range refs {
			if err := requirePlatform(ctx, store, ref, on); err != nil {
				return err
			}
		}
	}
	for _, arg := range f.base {
		inv, err := openBase(ctx, env, store, arg)
		if err != nil {
			return fmt.Errorf("--base %s: %w", arg, err)
		}
		o.Base = append(o.Base, inv)
	}
	switch {
	case f.docker():
		return writeOutput(env, "save", f.file, func(w io.Writer) error {
			return archive.WriteDocker(ctx, w, store, refs, on)
		})
	case f.split > 0:
		paths, err := archive.SaveVolumes(ctx, f.file, int64(f.split), store, refs, o)
		for _, path := range paths {
			fmt.Fprintln(env.stdout, path)
		}
		return err
	}
	return saveArchive(ctx, env, store, refs, f.file, o)
}

// openBase returns what the other side has.
func openBase(ctx context.Context, env *environment, store *store.Store, arg string) (*archive.Inventory, error) {
	_, err := os.Stat(arg)
	_, volume := os.Stat(arg + ".001")
	if isArchive(arg) || err == nil || volume == nil {
		file, _ := splitArchive(strings.TrimPrefix(arg, archivePrefix))
		return archive.OpenBase(ctx, file)
	}
	ref, err := artifact.ParseReference(arg)
	if err != nil {
		return nil, fmt.Errorf("it is neither a file nor an image reference: %w", fs.ErrNotExist)
	}
	if _, err := store.Resolve(ctx, ref); !errors.Is(err, artifact.ErrNotFound) {
		return archive.Take(ctx, store, []artifact.Reference{ref})
	}
	inv, err := archive.Take(ctx, env.registry(), []artifact.Reference{ref})
	if err != nil {
		err = fmt.Errorf("there is no such file, nor an image of that name in the store: %w", err)
	}
	return inv, err
}

// saveArchive writes images to a file, which appears when it is complete, or to
// standard output.
func saveArchive(ctx context.Context, env *environment, store *store.Store, refs []artifact.Reference, file string, o archive.Options) error {
	fi, err := os.Stat(file)
	if file == "-" || err == nil && !fi.Mode().IsRegular() {
		return writeOutput(env, "save", file, func(w io.Writer) error { return archive.Write(ctx, w, store, refs, o) })
	}
	return archive.Save(ctx, file, store, refs, o)
}
