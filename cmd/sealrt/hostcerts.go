package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/runtime/certificates"
)

// newHostCerts makes the command that tells of the certificates of a host.
func newHostCerts(env *environment) *cobra.Command {
	var endpoints, names []string
	var note, renewed string
	cmd := &cobra.Command{
		Use:   "certs PATTERN...",
		Short: "Tell of the certificates of this host",
		Long: `Tell of the certificates in the files that the patterns name, and of those that TLS
endpoints show, NAME=HOST:PORT[,file=FILE][,cert=FILE][,key=FILE][,if=PATH], as JSON.
Keys are read to be compared, and never printed.

With --note they are kept in FILE instead. With --renewed FILE exit 1 unless all that
were noted there are others now, and the endpoints show what is in their files. With
--names exit 1 unless the endpoints' certificates are for these names.`,
		Example: "  sealrt host certs --endpoint kubelet=127.0.0.1:10250 '/var/lib/rancher/k3s/agent/*.crt'",
		Args:    needArgs("patterns of files", 0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asked := certNote{Files: args, Endpoints: endpoints}
			if renewed != "" {
				return asRenewed(cmd.Context(), renewed)
			}
			now, err := asked.read(cmd.Context())
			switch {
			case err != nil:
				return err
			case note != "":
				return asked.keep(note, now)
			case len(names) > 0:
				return certificates.Named(now, names)
			}
			return printJSON(env, now)
		},
	}
	cmd.Flags().StringArrayVar(&endpoints, "endpoint", nil, "ask this `ENDPOINT` too; repeatable")
	cmd.Flags().StringVar(&note, "note", "", "keep them in `FILE`")
	cmd.Flags().StringVar(&renewed, "renewed", "", "compare them with those in `FILE`")
	cmd.Flags().StringSliceVar(&names, "names", nil, "`NAMES` that the endpoints' certificates are to be for")
	cmd.MarkFlagsMutuallyExclusive("note", "renewed", "names")
	return cmd
}

// certNote is what a host had before its certificates were renewed.
type certNote struct {
	Files        []string                   `json:"files"`     // patterns
	Endpoints    []string                   `json:"endpoints"` // certificates.Endpoint
	Certificates []certificates.Certificate `json:"certificates"`
}

// read reads the certificates as they are now.
func (n certNote) read(ctx context.Context) ([]certificates.Certificate, error) {
	list := []certificates.Certificate{}
	var ask []certificates.Endpoint
	for _, text := range n.Endpoints {
		e, err := certificates.ParseEndpoint(text)
		if err != nil {
			return nil, usageError{err}
		}
		ask = append(ask, e)
	}
	found, err := certificates.Files(n.Files)
	if err != nil {
		return nil, err
	}
	return append(append(list, found...), certificates.Shown(ctx, ask)...), ctx.Err()
}

// readNote reads what was kept; nothing where there is no file.
func readNote(file string) (n certNote, err error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	return n, err
}

// keep keeps what there is now. What an earlier attempt noted stays where there is
// nothing now.
func (n certNote) keep(file string, now []certificates.Certificate) error {
	before, err := readNote(file)
	if err != nil {
		before = certNote{} // it was cut off, and is written anew
	}
	n.Certificates = certificates.Merge(before.Certificates, now)
	raw, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return disk.Replace(file, int64(len(raw)), func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
}

// asRenewed compares what there is now with what was noted.
func asRenewed(ctx context.Context, file string) error {
	before, err := readNote(file)
	if err != nil {
		return err
	}
	now, err := before.read(ctx)
	if err != nil {
		return err
	}
	return certificates.Renewed(before.Certificates, now)
}
