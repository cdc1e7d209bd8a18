package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

func newScp(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster, role string
	var only []string
	var mode string
	cmd := &cobra.Command{
		Use:   "scp FILE PATH | scp HOST:PATH FILE",
		Short: "Copy a file to the hosts of a cluster, or from one of them",
		Long: `Copy a file, as root, to the hosts of a cluster, all at once, or from one of them
to here. On a host PATH is absolute; it names the file, or with / at its end the
directory. Whoever reads the file meanwhile sees the old one or the new one. -
is standard input or output.`,
		Example: `  sealrt scp ca.pem /etc/ssl/certs/ours.pem
  sealrt scp --role node limits.conf /etc/security/limits.d/
  sealrt scp 10.0.0.1:/var/log/syslog syslog`,
		Args: needArgs("a file and where it goes", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			k, err := lookAt(env, cluster, ssh)
			if err != nil {
				return err
			}
			defer k.close()
			if from, file, ok := remotePath(args[0]); ok {
				return k.fetch(ctx, from, file, args[1])
			}
			return k.distribute(ctx, func() ([]runtime.Member, error, error) { return k.chooseNow(ctx, role, only) }, args[0], args[1], mode)
		},
	}
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().StringVar(&role, "role", "", "only hosts of this role: master or node")
	cmd.Flags().StringSliceVar(&only, "host", nil, "only these `HOSTS`")
	cmd.Flags().StringVar(&mode, "mode", "", "permissions on the hosts, `OCTAL`; otherwise those of the file here")
	return cmd
}

// remotePath splits HOST:/PATH. An IPv6 address stands in brackets.
func remotePath(arg string) (name, file string, ok bool) {
	i := strings.Index(arg, ":/")
	if i <= 0 || strings.Contains(arg[:i], "/") {
		return "", "", false
	}
	return strings.Trim(arg[:i], "[]"), arg[i+1:], true
}

// fetch copies a file from a host. The file here is written beside its place
// and renamed.
func (k *known) fetch(ctx context.Context, from, file, to string) error {
	members, lost, err := k.chooseNow(ctx, "", []string{from})
	if err := errors.Join(err, lost); err != nil {
		return err
	}
	h := k.hosts[members[0].Address]
	if to == "-" {
		return host.Get(ctx, h, file, k.env.stdout)
	}
	if info, err := os.Stat(to); err == nil && info.IsDir() || strings.HasSuffix(to, "/") {
		to = filepath.Join(to, path.Base(file))
	}
	return writeOutput(k.env, "scp", to, func(w io.Writer) error { return host.Get(ctx, h, file, w) })
}

// distribute copies a file to the members, all at once.
func (k *known) distribute(ctx context.Context, choose func() (members []runtime.Member, lost, err error), file, to, octal string) error {
	if !path.IsAbs(to) {
		return usageError{fmt.Errorf("%s: write the absolute path on the hosts, or HOST:PATH first to copy from one", to)}
	}
	if strings.HasSuffix(to, "/") {
		if file == "-" {
			return usageError{errors.New("-: name the file on the hosts")}
		}
		to = path.Join(to, filepath.Base(file))
	}
	open, mode, err := k.reader(file)
	if err != nil {
		return err
	}
	if octal != "" {
		bits, err := strconv.ParseUint(octal, 8, 12)
		if err != nil {
			return usageError{fmt.Errorf("--mode %q: write permissions like 0644", octal)}
		}
		mode = os.FileMode(bits)
	}
	members, lost, err := choose()
	if err != nil {
		return err
	}
	if file == "-" && len(members) > 1 {
		return usageError{errors.New("standard input is read once: choose one host with --host, or name a file")}
	}
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		if k.hosts[m.Address] == nil { // the others are not kept waiting for it
			continue
		}
		wg.Go(func() {
			errs[i] = ended(m, k.put(ctx, m, path.Clean(to), mode, open))
		})
	}
	wg.Wait()
	return errors.Join(append(errs, lost)...)
}

func (k *known) put(ctx context.Context, m runtime.Member, to string, mode os.FileMode, open func() (io.ReadCloser, error)) error {
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	return host.Put(ctx, k.hosts[m.Address], to, mode, r)
}

// reader returns what opens the file here, once for each host.
func (k *known) reader(file string) (func() (io.ReadCloser, error), os.FileMode, error) {
	if file == "-" {
		return func() (io.ReadCloser, error) { return io.NopCloser(k.env.stdin), nil }, 0o644, nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no file: scp copies one file at a time (tar makes one of many)", file)
	}
	return func() (io.ReadCloser, error) { return os.Open(file) }, info.Mode().Perm(), nil
}
