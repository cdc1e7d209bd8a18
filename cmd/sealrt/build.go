package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder"
	"github.com/sealrt/sealrt/builder/sandbox"
	"github.com/sealrt/sealrt/kubefile"
)

// defaultKubefile is looked for in the context when -f is not given.
const defaultKubefile = "Kubefile"

// dockerfile is what those who come from other tools may have instead.
const dockerfile = "Dockerfile"

// unnamed is the repository of an image that was built without a name.
const unnamed = "localhost/unnamed"

// buildFlags are what build is told.
type buildFlags struct {
	file        string
	tags        []string
	platforms   []string
	args        []string
	target      string
	noCache     bool
	check       bool
	compression string
	engine      string
	addHosts    []string
	push        bool
	output      string
}

func newBuild(env *environment) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build [flags] [CONTEXT]",
		Short: "Build a cluster image from a Kubefile",
		Long: `Build a cluster image from a Kubefile and the files in CONTEXT, the working
directory unless given. The same inputs give the same digest, which is printed.`,
		Example: `  sealrt build -t k3s:v1.25.3 .
  sealrt build -f Kubefile -t registry.example.com/k3s:v1.25.3 --platform linux/amd64,linux/arm64 --push .`,
		Args: needArgs("", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return build(cmd.Context(), env, f, dir)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "read the Kubefile from `FILE`, - for standard input (default CONTEXT/Kubefile)")
	flags.StringArrayVarP(&f.tags, "tag", "t", nil, "call the image `NAME:TAG`; repeatable")
	flags.StringSliceVar(&f.platforms, "platform", nil, "build for these `PLATFORMS`, like linux/amd64,linux/arm64")
	flags.StringArrayVar(&f.args, "build-arg", nil, "set an ARG, `NAME=VALUE`; NAME alone takes it from the environment; repeatable")
	flags.StringVar(&f.target, "target", "", "build this `STAGE` instead of the last")
	flags.BoolVar(&f.noCache, "no-cache", false, "make every layer anew")
	flags.BoolVar(&f.check, "check", false, "report all mistakes of the Kubefile, and build nothing")
	flags.Var(newChoice(&f.compression, "zstd", "zstd", "gzip", "none"), "compression", "compression of layers: zstd, gzip or none")
	flags.StringVar(&f.engine, "builder", "local", "what builds: local, this machine")
	flags.StringArrayVar(&f.addHosts, "add-host", nil, "let RUN find `HOST:IP`; repeatable")
	flags.BoolVar(&f.push, "push", false, "push the image under every tag")
	flags.StringVarP(&f.output, "output", "o", "", "write the image to an archive too, `oci-archive:FILE`")
	env.registryFlags(flags)
	return cmd
}

// build reads the Kubefile, builds, and hands the image on where it was asked.
func build(ctx context.Context, env *environment, f buildFlags, dir string) (err error) {
	o, err := f.options(env)
	if err != nil {
		return err
	}
	o.Context = dir
	o.File, err = readKubefile(env, f.file, dir)
	var mistakes kubefile.Errors
	if err != nil && !errors.As(err, &mistakes) {
		return err
	}
	if f.check || len(mistakes) > 0 {
		return builder.Check(o, mistakes)
	}
	if o.Store, err = env.openStore(); err != nil {
		return err
	}
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	o.Source = env.registry()
	o.Observe, o.Log = env.progress(), env.render().log()
	var said lastOutput
	if env.quiet {
		o.Log = &said
	}
	d, err := builder.Build(ctx, o)
	if err != nil {
		return said.explain(err)
	}
	if err = f.deliver(ctx, env, o, d); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, d.Digest)
	return err
}

// options translates the flags.
func (f *buildFlags) options(env *environment) (o builder.Options, err error) {
	if f.engine != "local" {
		return o, usageError{fmt.Errorf("--builder %s is not there yet: use --builder local", f.engine)}
	}
	if f.push && len(f.tags) == 0 {
		return o, usageError{errors.New("--push needs a name to push to: add -t NAME:TAG")}
	}
	if kind, file, _ := strings.Cut(f.output, ":"); f.output != "" && (kind != "oci-archive" || file == "") {
		return o, usageError{fmt.Errorf("-o %s: write oci-archive:FILE", f.output)}
	}
	o = builder.Options{Target: f.target, NoCache: f.noCache, AddHosts: f.addHosts, Jobs: env.jobs, CAFile: env.access.CAFile}
	if o.Tags, err = parseRefs(f.tags); err != nil {
		return o, err
	}
	if o.Platforms, err = parsePlatforms(f.platforms); err != nil {
		return o, err
	}
	if o.BuildArgs, err = parseBuildArgs(f.args, env.getenv); err != nil {
		return o, err
	}
	if o.Compression, err = layer.ParseCompression(f.compression); err != nil {
		return o, usageError{err}
	}
	o.Created, err = env.created()
	return o, err
}

// parseBuildArgs reads --build-arg; a name alone has the environment's value,
// and is left out when the environment has none.
func parseBuildArgs(list []string, getenv func(string) string) (map[string]string, error) {
	args := map[string]string{}
	for _, text := range list {
		name, value, given := strings.Cut(text, "=")
		if name == "" {
			return nil, usageError{fmt.Errorf("--build-arg %q: write NAME=VALUE", text)}
		}
		if !given {
			value = getenv(name)
		}
		if given || value != "" {
			args[name] = value
		}
	}
	return args, nil
}

// readKubefile parses the file, the Kubefile of the context when file is "",
// or standard input when it is "-". With kubefile.Errors it returns what it
// could read.
func readKubefile(env *environment, file, dir string) (*kubefile.File, error) {
	if err := checkContext(dir); err != nil {
		return nil, err
	}
	if file == "-" {
		return kubefile.Parse("stdin", env.stdin)
	}
	name := file
	if name == "" {
		name = filepath.Join(dir, defaultKubefile)
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) && file == "" {
		if _, statErr := os.Stat(filepath.Join(dir, dockerfile)); statErr == nil {
			return nil, fmt.Errorf("%w: there is a %s: rename it, or name it with -f", err, dockerfile)
		}
		return nil, fmt.Errorf("%w: write one, or name it with -f", err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return kubefile.Parse(name, f)
}

// checkContext refuses what other tools take for a context.
func checkContext(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("the context %s is a file: name the directory that COPY reads, and a Kubefile with -f", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the context: %w", err)
	case dir == "-":
		return errors.New("the context cannot come from standard input: name a directory; -f - reads the Kubefile from there")
	case strings.Contains(dir, "://"):
		return fmt.Errorf("the context %s is a URL: fetch it first, and name the directory", dir)
	}
	return fmt.Errorf("the context: %w", err)
}

// deliver pushes the image and writes it to an archive, as asked.
func (f *buildFlags) deliver(ctx context.Context, env *environment, o builder.Options, d v1.Descriptor) error {
	if f.push {
		for _, tag := range o.Tags {
			if _, err := artifact.Copy(ctx, env.registry(), tag, o.Store, tag, env.copyOptions()); err != nil {
				return err
			}
		}
	}
	_, file, ok := strings.Cut(f.output, ":")
	if !ok {
		return nil
	}
	refs := o.Tags
	if len(refs) == 0 {
		ref, err := artifact.ParseReference(unnamed + "@" + d.Digest.String())
		if err != nil {
			return err
		}
		refs = []artifact.Reference{ref}
	}
	return saveArchive(ctx, env, o.Store, refs, file)
}

// maxLastOutput is how many bytes of a command's output an error repeats.
const maxLastOutput = 2 << 10

// lastOutput keeps the end of what RUN commands say, for those who did not want to read it unless one fails.
type lastOutput struct{ text []byte }

// Write implements io.Writer.
func (l *lastOutput) Write(p []byte) (int, error) {
	l.text = append(l.text, p...)
	if extra := len(l.text) - maxLastOutput; extra > 0 {
		l.text = append(l.text[:0], l.text[extra:]...)
	}
	return len(p), nil
}

// explain adds the output to the error of a command.
func (l *lastOutput) explain(err error) error {
	var exit *sandbox.ExitError
	text := strings.TrimSpace(strings.ToValidUTF8(string(l.text), ""))
	if text == "" || !errors.As(err, &exit) {
		return err
	}
	return fmt.Errorf("%w; its last output was\n%s", err, text)
}
