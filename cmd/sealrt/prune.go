package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/mount"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder"
)

// pruneFlags are what prune is told.
type pruneFlags struct {
	cache, all, yes, dryRun bool
	output                  string
}

func newPrune(env *environment) *cobra.Command {
	var f pruneFlags
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Free the space that no image needs",
		Long: `Remove from the store the blobs that no name reaches, and what commands that
were killed left there. With --cache the build cache goes too: the next build
makes every layer anew. With --all every image goes. Unpacked layers of images
that are not mounted go, too. What was freed is printed.
A store that another sealrt is at work in is left alone, and that one is named.`,
		Example: "  sealrt prune\n  sealrt prune --dry-run\n  sealrt prune --all --cache --yes",
		Args:    needArgs("", 0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return prune(cmd.Context(), env, f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.cache, "cache", false, "remove the build cache too: records, unpacked layers, cache mounts and downloads")
	flags.BoolVarP(&f.all, "all", "a", false, "remove all images too")
	flags.BoolVar(&f.yes, "yes", false, "do not ask before all images are removed")
	flags.BoolVar(&f.dryRun, "dry-run", false, "list what would be removed, and remove nothing")
	outputFlag(cmd, &f.output)
	return cmd
}

// pruneJSON is what prune -o json prints.
type pruneJSON struct {
	DryRun bool            `json:"dryRun"`
	Freed  int64           `json:"freed"`           // bytes; that would be freed, of a dry run
	Items  []store.Garbage `json:"items,omitempty"` // of a dry run
}

// prune frees space; what was freed before an error is told with it.
func prune(ctx context.Context, env *environment, f pruneFlags) error {
	local, err := env.openStore()
	if err != nil {
		return err
	}
	names, err := prunedNames(ctx, env, local, f)
	if err != nil {
		return err
	}
	var list []store.Garbage
	if f.dryRun || !f.cache && builder.HasTrees(local) { // a sweep does not count those
		if list, err = builder.Garbage(ctx, local, store.Without{Names: names}, f.cache); err != nil {
			return err
		}
	}
	unused, err := mount.Of(local).Unused(ctx)
	if err != nil {
		return err
	}
	for _, u := range unused {
		list = append(list, store.Garbage{Kind: "unpacked", Name: u.Name, Size: u.Size})
	}
	if f.dryRun {
		return printGarbage(env, names, list, f.output)
	}
	freed, err := pruneStore(ctx, env, local, names, f.cache)
	if err == nil {
		err = builder.PruneTrees(local)
	}
	if !f.cache { // there they count already
		freed += goneTrees(local, list)
	}
	if err != nil {
		if freed > 0 {
			env.note("%s freed before that", sizeText(freed))
		}
		return err
	}
	if f.output == "json" {
		return printJSON(env, pruneJSON{Freed: freed})
	}
	_, err = fmt.Fprintf(env.stdout, "%s freed\n", sizeText(freed))
	return err
}

// prunedNames returns the names that --all removes, once that is confirmed.
func prunedNames(ctx context.Context, env *environment, local *store.Store, f pruneFlags) (names []artifact.Reference, err error) {
	if !f.all {
		return nil, nil
	}
	list, err := local.Refs(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		names = append(names, n.Ref)
	}
	if f.dryRun || len(names) == 0 {
		return names, nil
	}
	return names, confirm(env, f.yes, fmt.Sprintf("remove all %d images of the store at %s", len(names), local.Root()))
}

// pruneStore sweeps the store. Names go only when the store is this command's.
func pruneStore(ctx context.Context, env *environment, local *store.Store, names []artifact.Reference, cache bool) (int64, error) {
	freed, err := local.SweepAfter(ctx, func() (int64, error) {
		for _, ref := range names {
			if err := local.Untag(ctx, ref); err != nil && !errors.Is(err, artifact.ErrNotFound) {
				return 0, err
			}
			env.note("%s removed", ref.Familiar())
		}
		return mount.Of(local).Prune(ctx)
	})
	if err != nil || !cache {
		return freed, err
	}
	n, err := builder.PruneCache(ctx, local)
	return freed + n, err
}

// goneTrees counts the bytes of unpacked layers that are gone.
func goneTrees(local *store.Store, list []store.Garbage) (freed int64) {
	for _, g := range list {
		if g.Kind != builder.GarbageTree {
			continue
		}
		if _, err := os.Lstat(filepath.Join(local.Root(), g.Name)); errors.Is(err, os.ErrNotExist) {
			freed += g.Size
		}
	}
	return freed
}

// printGarbage prints what prune would remove.
func printGarbage(env *environment, names []artifact.Reference, list []store.Garbage, output string) error {
	var images []store.Garbage
	for _, ref := range names {
		images = append(images, store.Garbage{Kind: "image", Name: ref.Familiar()})
	}
	list = append(images, list...)
	var sum int64
	for _, g := range list {
		sum += g.Size
	}
	if output == "json" {
		return printJSON(env, pruneJSON{DryRun: true, Freed: sum, Items: list})
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	if len(list) > 0 {
		fmt.Fprintln(w, "KIND\tSIZE\tNAME")
	}
	for _, g := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\n", g.Kind, sizeText(g.Size), g.Name)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.stdout, "%s would be freed\n", sizeText(sum))
	return err
}
