package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

func newExec(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster, role string
	var only []string
	cmd := &cobra.Command{
		Use:   "exec [flags] -- COMMAND [ARG...]",
		Short: "Run a command on the hosts of a cluster",
		Long: `Run a command, as root, on the hosts of a cluster, all at once. The words after
-- reach the program as they are: no shell reads them. With several hosts each
line of output begins with its host. Hosts that cannot be reached do not stop the
others. Exit 1 when the command fails anywhere, or a host is not reached.`,
		Example: `  sealrt exec -- uptime
  sealrt exec --role master -- kubectl --kubeconfig /etc/kubernetes/admin.conf get pods -A`,
		Args: needArgs("a command", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			k, err := lookAt(env, cluster, ssh)
			if err != nil {
				return err
			}
			defer k.close()
			members, lost, err := k.chooseNow(ctx, role, only)
			if err != nil {
				return err
			}
			return errors.Join(k.exec(ctx, env, members, args), lost)
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows the command is its own
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().StringVar(&role, "role", "", "only hosts of this role: master or node")
	cmd.Flags().StringSliceVar(&only, "host", nil, "only these `HOSTS`")
	return cmd
}

// choose returns the members that a command is for.
func choose(c *runtime.Cluster, role string, only []string) ([]runtime.Member, error) {
	if role != "" && role != string(runtime.Master) && role != string(runtime.Node) {
		return nil, usageError{fmt.Errorf("--role %q: it is master or node", role)}
	}
	wanted := map[string]bool{}
	for _, h := range only {
		wanted[h] = true
	}
	var out []runtime.Member
	for _, m := range c.Members {
		byName := wanted[m.Name()] || wanted[m.Hostname]
		delete(wanted, m.Name())
		delete(wanted, m.Hostname)
		if (role == "" || string(m.Role) == role) && (len(only) == 0 || byName) {
			out = append(out, m)
		}
	}
	for h := range wanted {
		return nil, usageError{fmt.Errorf("--host %s: the cluster %s has no such host", h, c.Name)}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("cluster %s has no such host", c.Name)
	}
	return out, nil
}

func (k *known) exec(ctx context.Context, env *environment, members []runtime.Member, argv []string) error {
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, m := range members {
		if k.hosts[m.Address] == nil { // the others are not kept waiting for it
			continue
		}
		wg.Go(func() {
			stdout, stderr := env.stdout, env.stderr
			if len(members) > 1 {
				prefix := m.Name() + "  "
				out, problem := &prefixed{w: stdout, prefix: prefix, mu: &mu}, &prefixed{w: stderr, prefix: prefix, mu: &mu}
				defer out.flush()
				defer problem.flush()
				stdout, stderr = out, problem
			}
			errs[i] = ended(m, k.hosts[m.Address].Run(ctx, host.Command{Argv: argv, Stdout: stdout, Stderr: stderr}))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// ended names the host of a command that failed. What the command said has
// been passed on and is not repeated.
func ended(m runtime.Member, err error) error {
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("host %s: %s: exit status %d", m.Name(), exit.Argv[0], exit.Code)
	}
	if err != nil {
		return fmt.Errorf("host %s: %w", m.Name(), err)
	}
	return nil
}

// prefixed writes whole lines, each behind a prefix.
type prefixed struct {
	w      io.Writer
	prefix string
	mu     *sync.Mutex // one for all that write to w
	rest   []byte      // the line that has not ended yet
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		i := bytes.IndexByte(p.rest, '\n')
		if i < 0 && len(p.rest) > maxLogLine {
			p.flush() // a line that never ends is broken
		}
		if i < 0 {
			return len(b), nil
		}
		if err := p.line(p.rest[:i]); err != nil {
			return 0, err
		}
		p.rest = p.rest[i+1:]
	}
}

func (p *prefixed) line(l []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := fmt.Fprintf(p.w, "%s%s\n", p.prefix, l)
	return err
}

func (p *prefixed) flush() {
	if len(p.rest) > 0 {
		_ = p.line(p.rest) // the command has ended; its error is what counts
		p.rest = nil
	}
}
