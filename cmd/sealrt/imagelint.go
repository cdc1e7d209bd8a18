package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/sealrt/sealrt/artifact/airgap/lint"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealrt/sealrt/builder"
)

// lintFlags are what image lint is told.
type lintFlags struct {
	build   buildFlags // those that the tree depends on
	offline bool
	strict  bool
}

func newImageLint(env *environment) *cobra.Command {
	var f lintFlags
	var output string
	cmd := &cobra.Command{
		Use:   "lint [flags] [CONTEXT]",
		Short: "Tell which container images a tree needs, and which of them are a problem",
		Long: `Tell which container images a tree needs, and which of them are a problem: those
that cannot be had, are not for the platform, or are needed by the distribution
and forgotten. Names that may mean another image tomorrow, images that nothing
asks for, and lines that repeat others are warnings. Registries are asked for
manifests; no layer is fetched, and no image is written.
The tree is made as build does, with the Kubefile of CONTEXT, the working
directory unless given. Without a Kubefile, CONTEXT is the tree: its manifests,
charts and images are looked at as they are.`,
		Example: `  sealrt image lint .
  sealrt image lint --platform linux/amd64,linux/arm64 --strict .
  sealrt image lint --offline -o json .`,
		Args: needArgs("", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return lintTree(cmd.Context(), env, f, dir, output)
		},
	}
	f.define(cmd.Flags())
	outputFlag(cmd, &output)
	env.registryFlags(cmd.Flags())
	return cmd
}

func (f *lintFlags) define(flags *pflag.FlagSet) {
	var all pflag.FlagSet
	f.build.define(&all)
	for _, name := range []string{
		"file", "platform", "build-arg", "secret", "target", "frozen", "image-source", "builder", "builder-tools", "builder-ca", "builder-cert", "builder-key", "add-host", "timeout",
	} {
		flags.AddFlag(all.Lookup(name))
	}
	flags.BoolVar(&f.offline, "offline", false, "ask nobody about the images: tell what the files say")
	flags.BoolVar(&f.strict, "strict", false, "fail because of warnings, too")
}

// lintTree looks at the tree, asks about its images, and prints what came out.
func lintTree(ctx context.Context, env *environment, f lintFlags, dir, output string) error {
	var reports []treeReport
	err := f.look(ctx, env, dir, func(ctx context.Context, n builder.Needed) error {
		if f.offline {
			n.Lint.Source, n.Lint.Place = nil, nil
		}
		findings, err := lint.Images(ctx, n.Images, n.Bad, n.Lint)
		reports = append(reports, treeReport{n, findings})
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range reports {
		r.tell(env)
	}
	if output == "json" {
		err = printJSON(env, lintReport(reports))
	} else {
		err = printFindings(env, reports)
	}
	if err != nil {
		return err
	}
	return f.verdict(reports)
}

// look reads the tree with the Kubefile, or as it is.
func (f *lintFlags) look(ctx context.Context, env *environment, dir string, report func(context.Context, builder.Needed) error) error {
	o, err := f.build.options(env)
	if err != nil {
		return err
	}
	o.Context = dir
	if o.Store, err = env.openStore(); err != nil {
		return err
	}
	if !f.offline {
		o.Source = env.registry()
	}
	if f.isTree(dir) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		defer root.Close()
		return builder.NeedOf(ctx, root.FS(), o, report)
	}
	if o.File, err = readKubefile(env, f.build.file, dir); err != nil {
		return err
	}
	lock, err := f.build.lockName(dir)
	if err != nil {
		return err
	}
	if lock != "" {
		if o.Lock, err = readLock(lock, true); err != nil {
			return err
		}
	}
	return f.make(ctx, env, o, report)
}

// make makes the tree, with the story told.
func (f *lintFlags) make(ctx context.Context, env *environment, o builder.Options, report func(context.Context, builder.Needed) error) (err error) {
	var done func() error
	if o.Runner, done, err = f.build.engine.open(ctx, o.Store, env.registry()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	p := newBuildProgress(ctx, env.render())
	o.Observe = p.observe
	return p.end(builder.Need(ctx, o, report))
}

// isTree says whether the context is a tree rather than what a Kubefile makes one of.
func (f *lintFlags) isTree(dir string) bool {
	b := &f.build
	if b.file != "" || b.target != "" || b.frozen || len(b.imageSources)+len(b.args)+len(b.secrets) > 0 {
		return false
	}
	if _, err := os.Lstat(filepath.Join(dir, defaultKubefile)); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return slices.ContainsFunc([]string{"manifests", "charts", "images"}, func(part string) bool {
		info, err := os.Stat(filepath.Join(dir, part))
		return err == nil && info.IsDir()
	})
}
