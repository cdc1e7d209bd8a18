package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/certificates"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/registry"
)

func newCertCheck(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster, output string
	var warn int
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell until when the certificates of the hosts count",
		Long: `Tell until when the certificates of a cluster count: all that its hosts have in
files, what their TLS endpoints really show, and the kubeconfig on this machine.
Nothing is changed.

Exit 1 when one has ended or ends within --warn-days, when an endpoint shows another
certificate than the file that it is told to show, when a key is another
certificate's, and when one cannot be read.`,
		Example: "  sealrt cert check --cluster default\n  sealrt cert check --warn-days 0 -o json",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if warn < 0 {
				return usageError{errors.New("--warn-days is a number of days, or 0")}
			}
			k, err := lookAt(env, cluster, ssh)
			if err != nil {
				return err
			}
			defer k.close()
			found, err := k.certificates(cmd.Context(), time.Now(), warn)
			if err != nil {
				return err
			}
			return k.judgeCertificates(output, found)
		},
	}
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().IntVar(&warn, "warn-days", int(registry.RenewBefore.Hours()/24), "a certificate that ends within so many `DAYS` is not well")
	outputFlag(cmd, &output)
	return cmd
}

// certState says how a certificate is.
type certState string

const (
	certOK         certState = "ok"
	certEnds       certState = "ends soon"
	certExpired    certState = "expired"
	certStale      certState = "stale" // an endpoint shows another one
	certKey        certState = "wrong key"
	certRefused    certState = "refused" // by the other hosts
	certUnreadable certState = "unreadable"
)

// usageStatus is how sealrt exits when it does not know a command.
const usageStatus = 2

// certificate is one of a host.
type certificate struct {
	Host string `json:"host"` // "": this machine
	certificates.Certificate
	State   certState `json:"state"`
	Trouble string    `json:"trouble,omitempty"` // "": all is well
}

// certificates reads those of all hosts. One that ends within so many days is in
// trouble.
func (k *known) certificates(ctx context.Context, now time.Time, warn int) ([]certificate, error) {
	var ca *registry.CA
	if k.cluster.Serves() {
		var made bool
		var err error
		if ca, made, err = registry.LoadCA(k, k.cluster.Name, now); err != nil {
			return nil, err
		}
		if made {
			return nil, fmt.Errorf("%s does not hold the CA of the image service: sealrt recover --from HOST brings it back from a master", k.state.Path(""))
		}
	} else if _, ok := k.driver.(runtime.Certifier); !ok {
		return nil, k.hasService()
	}
	reach := k.reach(ctx, k.cluster.Members)
	if len(k.hosts) == 0 {
		return nil, reach
	}
	k.warn(reach)
	of := make([][]certificate, len(k.cluster.Members))
	var wg sync.WaitGroup
	for i, m := range k.cluster.Members {
		wg.Go(func() {
			of[i] = k.certificatesOf(ctx, m)
			for j := range of[i] {
				of[i][j].judge(now, warn)
			}
			k.verifyService(ctx, m, ca, of[i], now)
		})
	}
	wg.Wait()
	list := slices.Concat(of...)
	if own, err := certificates.File(k.state.KubeconfigPath()); !errors.Is(err, fs.ErrNotExist) {
		c := certificate{Certificate: own}
		if c.Source = k.state.KubeconfigPath(); err != nil {
			c.Error = err.Error()
		}
		c.judge(now, warn)
		list = append(list, c)
	}
	return list, ctx.Err()
}

// certificatesOf has a host tell of its certificates.
func (k *known) certificatesOf(ctx context.Context, m runtime.Member) []certificate {
	lacks := func(why string) []certificate {
		return []certificate{{Host: m.Name(), Certificate: certificates.Certificate{Error: why}}}
	}
	where, err := k.cluster.ServiceCertificates(m)
	if err != nil {
		return lacks(err.Error())
	}
	if d, ok := k.driver.(runtime.Certifier); ok {
		own := d.Certificates(k.cluster, m)
		where.Files, where.Endpoints = append(own.Files, where.Files...), append(own.Endpoints, where.Endpoints...)
	}
	h := k.hosts[m.Address]
	if h == nil {
		return lacks("the host cannot be reached")
	}
	var out bytes.Buffer
	var list []certificates.Certificate
	err = h.Run(ctx, host.Command{Argv: where.Reading(), Stdout: &out})
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &list)
	}
	var exit *host.ExitError
	switch {
	case errors.As(err, &exit) && exit.Code == usageStatus:
		return lacks("the sealrt there is older and cannot tell: sealrt doctor --heal brings it this one")
	case err != nil:
		return lacks(err.Error())
	}
	var all []certificate
	for _, c := range list {
		all = append(all, certificate{Host: m.Name(), Certificate: c})
	}
	return all
}

// judge says how the certificate is.
func (c *certificate) judge(now time.Time, warn int) {
	c.State = certOK
	left := c.NotAfter.Sub(now)
	switch {
	case c.Error != "":
		c.State, c.Trouble = certUnreadable, c.Error
	case left < 0:
		c.State, c.Trouble = certExpired, fmt.Sprintf("expired %s ago", plural(int(-left.Hours()/24), "day"))
	case now.Before(c.NotBefore):
		c.State, c.Trouble = certRefused, "it does not count before "+c.NotBefore.Format(time.RFC3339)
	case c.Stale:
		c.State, c.Trouble = certStale, fmt.Sprintf("another one is in %s: what answers here has to start again", c.File)
	case c.Key == certificates.Differs:
		c.State, c.Trouble = certKey, "the key beside it is not its own"
	case left < time.Duration(warn)*24*time.Hour:
		c.State, c.Trouble = certEnds, "it ends in "+plural(int(left.Hours()/24), "day")
	}
}

// verifyService asks whether the other hosts would take a host's certificate of
// the image service.
func (k *known) verifyService(ctx context.Context, m runtime.Member, ca *registry.CA, list []certificate, now time.Time) {
	h := k.hosts[m.Address]
	if ca == nil || h == nil {
		return
	}
	i := slices.IndexFunc(list, func(c certificate) bool { return c.Source == runtime.ServiceCert })
	if i < 0 || list[i].State != certOK && list[i].State != certEnds {
		return
	}
	raw, err := host.ReadFile(ctx, h, runtime.ServiceCert)
	if err == nil {
		_, err = ca.Check(raw, now)
	}
	if err != nil {
		list[i].State, list[i].Trouble = certRefused, err.Error()
	}
}

// judgeCertificates prints what was found, which is an error where something is to
// be done.
func (k *known) judgeCertificates(output string, found []certificate) error {
	troubled := 0
	for _, c := range found {
		if c.Trouble != "" {
			troubled++
		}
	}
	if err := printCertificates(k.env, output, found); err != nil {
		return err
	}
	if troubled > 0 {
		return fmt.Errorf("%s not well: sealrt cert renew --cluster %s makes new ones for the hosts that answer", plural(troubled, "certificate"), k.cluster.Name)
	}
	return nil
}

func printCertificates(env *environment, output string, found []certificate) error {
	if output == "json" {
		return printJSON(env, found)
	}
	w := tabwriter.NewWriter(env.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tCERTIFICATE\tEXPIRES\tSTATE")
	for _, c := range found {
		on, where, expires, state := c.Host, c.Source, "-", string(c.State)
		if on == "" {
			on = "this machine"
		}
		if c.Endpoint != "" {
			where = c.Endpoint + " at " + c.Source
		}
		if where == "" {
			where = "-"
		}
		if !c.NotAfter.IsZero() {
			expires = c.NotAfter.Format(time.RFC3339)
		}
		if c.Trouble != "" {
			state = c.Trouble
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", on, where, expires, state)
	}
	return w.Flush()
}
