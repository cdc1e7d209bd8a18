package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact/store"
)

func newVerifyStore(env *environment) *cobra.Command {
	var output string
	var o store.VerifyOptions
	cmd := &cobra.Command{
		Use:   "verify-store [flags]",
		Short: "Look whether the store is in order",
		Long: `Read every blob of the store and compare it with its digest; look whether every
image has all that it needs, and whether the records of the build cache are
whole. Others may use the store meanwhile, and a store on a medium that cannot be
written to is verified too. A summary is printed, and what is wrong; then the
exit code is 1.

--repair removes blobs that are damaged, so that pull or load brings them again,
and damaged records. It removes nothing that is good.`,
		Example: "  sealrt verify-store\n  sealrt verify-store --repair\n  sealrt verify-store --root /media/disc/store -o json",
		Args:    needArgs("", 0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return verifyStore(cmd.Context(), env, o, output) },
	}
	cmd.Flags().BoolVar(&o.Repair, "repair", false, "remove what is damaged")
	cmd.Flags().IntVar(&o.Jobs, "jobs", 0, "blobs read at a time (0: one a core)")
	outputFlag(cmd, &output)
	return cmd
}

func verifyStore(ctx context.Context, env *environment, o store.VerifyOptions, output string) error {
	if o.Jobs < 0 {
		return usageError{errors.New("--jobs cannot be negative")}
	}
	store, err := env.openStore()
	if err != nil {
		return err
	}
	o.Observe = env.render().reading("verify-store")
	began := time.Now()
	v, err := store.Verify(ctx, o)
	if v != nil {
		if output == "json" {
			err = errors.Join(err, printJSON(env, v))
		} else {
			err = errors.Join(err, printVerified(env, v, time.Since(began)))
		}
	}
	if err != nil {
		return err
	}
	return verdict(v)
}

// printVerified prints what was found, what is wrong at the end.
func printVerified(env *environment, v *store.Verified, took time.Duration) error {
	env.render().finish()
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "images\t%d\n", v.Images)
	fmt.Fprintf(w, "blobs\t%d\t%s, read in %.1fs\n", v.Blobs, sizeText(v.Bytes), took.Seconds())
	fmt.Fprintf(w, "unneeded\t%d\t%s, which prune frees\n", v.Unreferenced, sizeText(v.Unneeded))
	fmt.Fprintf(w, "partial\t%d\t%s, which the next pull goes on with\n", v.Partials, sizeText(v.PartialBytes))
	fmt.Fprintf(w, "records\t%d\n", v.Records)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range v.Problems {
		if _, err := fmt.Fprintln(env.stdout, problemText(p)); err != nil {
			return err
		}
	}
	return nil
}

// problemText tells of a problem in one line.
func problemText(p store.Problem) string {
	words := []string{p.Kind, p.What}
	if p.Part != "" {
		words = append(words, p.Part)
	}
	if len(p.Images) > 0 {
		words = append(words, "of "+strings.Join(p.Images, ", "))
	}
	line := strings.Join(words, " ")
	if p.Cause != "" {
		line += ": " + p.Cause
	}
	if p.Removed {
		line += ": removed"
	}
	return line
}

// verdict returns the error that says what to do, nil if all is in order now.
func verdict(v *store.Verified) error {
	var images []string
	damaged, left := 0, 0
	for _, p := range v.Problems {
		images = append(images, p.Images...)
		switch {
		case p.Removed && len(p.Images) == 0:
			continue
		case p.Kind == store.ProblemDamaged && !p.Removed:
			damaged++
		}
		left++
	}
	if left == 0 {
		return nil
	}
	slices.Sort(images)
	images = slices.Compact(images)
	var todo []string
	if damaged > 0 {
		todo = append(todo, "`sealrt verify-store --repair` removes what is damaged")
	}
	if len(images) > 0 {
		todo = append(todo, "pull or load again what is not whole: "+strings.Join(images, ", "))
	}
	text := fmt.Sprintf("verify-store: %d things are wrong", left)
	if left == 1 {
		text = "verify-store: one thing is wrong"
	}
	if len(todo) == 0 {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %s", text, strings.Join(todo, ", then "))
}
