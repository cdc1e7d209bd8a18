package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder"
	"github.com/sealrt/sealrt/builder/buildkit"
)

// localBuilder is the value of --builder that means this machine.
const localBuilder = "local"

// engineFlags say where RUN commands are carried out.
type engineFlags struct {
	builder       string
	tools         string
	ca, cert, key string // files of PEM
}

func (f *engineFlags) define(flags *pflag.FlagSet) {
	flags.StringVar(&f.builder, "builder", localBuilder, "where RUN is carried out: local, this machine, or a BuildKit daemon at `ADDRESS`, like buildkit://unix:///run/buildkit/buildkitd.sock or buildkit://tcp://HOST:PORT")
	flags.StringVar(&f.tools, "builder-tools", "", "on a BuildKit daemon, show RUN the tools of `IMAGE` in stages that have no shell")
	flags.StringVar(&f.ca, "builder-ca", "", "trust the PEM certificates in `FILE` when talking to the BuildKit daemon")
	flags.StringVar(&f.cert, "builder-cert", "", "show the BuildKit daemon the PEM certificate in `FILE`")
	flags.StringVar(&f.key, "builder-key", "", "the key of --builder-cert, in `FILE`")
}

// address returns where the BuildKit daemon listens, "" for none, and the image
// of tools for it.
func (f *engineFlags) address() (daemon string, tools artifact.Reference, err error) {
	if f.builder != localBuilder {
		daemon, err = buildkit.ParseAddress(f.builder)
	}
	secured := f.ca != "" || f.cert != "" || f.key != ""
	switch {
	case err != nil:
	case daemon == "" && (secured || f.tools != ""):
		err = errors.New("--builder-tools, --builder-ca, --builder-cert and --builder-key are for a BuildKit daemon: name it with --builder")
	case secured && !strings.HasPrefix(daemon, "tcp://"):
		err = errors.New("--builder-ca, --builder-cert and --builder-key are for a BuildKit daemon at tcp://HOST:PORT")
	case (f.cert == "") != (f.key == ""):
		err = errors.New("--builder-cert and --builder-key go together: give both")
	case f.tools != "":
		tools, err = artifact.ParseReference(f.tools)
	}
	if err != nil {
		return "", tools, usageError{err}
	}
	return daemon, tools, nil
}

// open connects to the daemon, if there is to be one; otherwise the Runner is
// nil. Images of tools come from src. The caller calls done.
func (f *engineFlags) open(ctx context.Context, store *store.Store, src artifact.Source) (r builder.Runner, done func() error, err error) {
	daemon, tools, err := f.address()
	if err != nil {
		return nil, nil, err
	}
	if daemon == "" {
		return nil, func() error { return nil }, nil
	}
	e, err := buildkit.Open(ctx, daemon, buildkit.Options{
		Store: store, TLS: buildkit.TLS{CA: f.ca, Cert: f.cert, Key: f.key}, Tools: tools, ToolsFrom: src,
	})
	if err != nil {
		return nil, nil, err
	}
	return e, e.Close, nil
}
