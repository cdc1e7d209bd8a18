package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/state"
)

// Limits of a support bundle.
const (
	bundleEntry = 512 << 10        // bytes of one command's output or one file, the last ones
	bundleTime  = 30 * time.Second // that one command may take
	bundleHosts = 8                // asked at a time
)

func newSupportBundle(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster, file string
	cmd := &cobra.Command{
		Use:   "support-bundle [-o FILE]",
		Short: "Collect what helps to find out why a cluster is not well",
		Long: `Collect, from this machine and from all hosts that can be reached, what helps to
find out why a cluster is not well: its Clusterfile and journal, the hosts'
ledgers, the logs of services and hooks, disks, memory, addresses, the cluster's
nodes, pods and events. Passwords, tokens, keys and what looks like them are
taken out; look through it all the same before it leaves the house.`,
		Example: "  sealrt support-bundle -o support.tar.gz",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			k, err := lookAt(env, cluster, ssh)
			if err != nil {
				return err
			}
			defer k.close()
			if file == "" {
				file = "sealrt-" + cluster + "-support.tar.gz"
			}
			reach, err := k.view(ctx)
			if err != nil {
				k.env.note("warning: %v", err) // the bundle is to tell of it
			}
			if err := k.cluster.Unrevealed(); err != nil {
				env.note("warning: %v: it cannot be taken out of what programs on the hosts may have said", err)
			}
			if err := writeOutput(env, "support-bundle", file, func(w io.Writer) error { return k.bundle(ctx, w, reach) }); err != nil {
				return err
			}
			if file != "-" {
				fmt.Fprintln(env.stdout, file)
			}
			return nil
		},
	}
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to `FILE` or -; otherwise sealrt-CLUSTER-support.tar.gz")
	return cmd
}

// bundle is a support bundle that is being written. It is safe for concurrent
// use.
type bundle struct {
	mu     sync.Mutex
	tar    *tar.Writer
	redact *redactor
	err    error // of a write; nothing is written after it
}

// add adds a text, without its secrets.
func (b *bundle) add(name string, text []byte) {
	text = b.redact.text(text)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	b.err = b.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), ModTime: time.Now()})
	if b.err == nil {
		_, b.err = b.tar.Write(text)
	}
}

// bundle writes everything. What cannot be had is told in its place.
func (k *known) bundle(ctx context.Context, w io.Writer, reach error) error {
	secrets, err := k.hidden()
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(w)
	b := &bundle{tar: tar.NewWriter(zip), redact: newRedactor(slices.Concat(secrets, k.cluster.Secrets()))}
	b.add("sealrt/version.txt", []byte(programVersion().Version+"\n"))
	if reach != nil {
		b.add("sealrt/unreached.txt", []byte(reach.Error()+"\n"))
	}
	if err := k.bundleState(b); err != nil {
		return err
	}
	k.bundleHosts(ctx, b)
	k.bundleCluster(ctx, b)
	return errors.Join(ctx.Err(), b.err, b.tar.Close(), zip.Close())
}

// hidden returns what the state keeps secret, to be taken out of everything.
func (k *known) hidden() ([]string, error) {
	out := k.passwords()
	err := filepath.WalkDir(k.state.Path(state.SecretsDir), func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(p)
		out = append(out, leaves(raw)...)
		return err
	})
	if err != nil {
		return nil, err
	}
	var kubeconfig struct {
		Users []struct{ User map[string]any }
	}
	raw, err := os.ReadFile(k.state.KubeconfigPath())
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err == nil {
		err = yaml.Unmarshal(raw, &kubeconfig)
	}
	for _, u := range kubeconfig.Users {
		for _, name := range []string{"token", "password", "client-key-data"} {
			if text, ok := u.User[name].(string); ok {
				out = append(out, text)
			}
		}
	}
	return out, err
}

// passwords returns those that hosts are logged in to with, as far as they can be
// had without asking.
func (k *known) passwords() []string {
	var out []string
	from := clusterfile.Secrets{Getenv: k.env.getenv, ReadFile: func(name string) ([]byte, error) { return os.ReadFile(k.env.homely(name)) }}
	ways := []clusterfile.SSH{k.cluster.SSH}
	for _, m := range k.cluster.Members {
		ways = append(ways, m.SSH)
	}
	for _, ssh := range ways {
		for _, reference := range []string{ssh.Password, ssh.BecomePassword} {
			if !clusterfile.IsReference(reference) {
				continue
			}
			if value, err := from.Reveal("password", reference); err == nil { // or who reads it cannot know it either
				out = append(out, value)
			}
		}
	}
	return out
}

// leaves returns the texts in a file of secrets: those in JSON, or else its
// lines.
func leaves(raw []byte) []string {
	var texts map[string]string
	if json.Unmarshal(raw, &texts) == nil {
		return slices.Collect(maps.Values(texts))
	}
	lines := strings.Split(string(raw), "\n")
	return slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "-----") })
}

// bundleState adds what this machine knows of the cluster.
func (k *known) bundleState(b *bundle) error {
	for _, name := range []string{"Clusterfile", imagesFile, state.Journal, "known_hosts"} {
		raw, err := os.ReadFile(k.state.Path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		b.add("sealrt/"+name, raw)
	}
	return nil
}

// bundleHosts asks all hosts that are connected.
func (k *known) bundleHosts(ctx context.Context, b *bundle) {
	turns := make(chan struct{}, bundleHosts)
	var wg sync.WaitGroup
	for _, m := range k.cluster.Members {
		h := k.hosts[m.Address]
		if h == nil {
			continue
		}
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			units, err := k.engine().Units(ctx, m)
			if err != nil {
				b.add(path.Join("hosts", m.Name(), "ledger-error.txt"), []byte(err.Error()+"\n"))
			}
			for name, argv := range hostQuestions(units) {
				b.add(path.Join("hosts", m.Name(), name), answer(ctx, h, argv))
			}
		})
	}
	wg.Wait()
}

// unitProperties are what is asked of a unit (org.freedesktop.systemd1(5)).
const unitProperties = "Id,LoadState,ActiveState,SubState,Result,UnitFileState,ActiveEnterTimestamp,InactiveEnterTimestamp,ExecMainStatus,NRestarts,MainPID,MemoryCurrent,TasksCurrent"

// hostQuestions are what a host is asked, by the file that the answer becomes.
func hostQuestions(units []string) map[string][]string {
	q := map[string][]string{
		"uname.txt":        {"uname", "-a"},
		"os-release.txt":   {"cat", "/etc/os-release"},
		"ledger.jsonl":     {"cat", runtime.LedgerPath},
		"hooks.log":        {"find", runtime.Home + "/log", "-type", "f", "-print", "-exec", "tail", "-c", "65536", "{}", ";"},
		"disks.txt":        {"df", "-hP"},
		"inodes.txt":       {"df", "-iP"},
		"memory.txt":       {"cat", "/proc/meminfo"},
		"load.txt":         {"cat", "/proc/loadavg"},
		"mounts.txt":       {"cat", "/proc/self/mounts"},
		"processes.txt":    {"ps", "-eo", "pid,ppid,user,stat,etime,rss,comm"}, // arguments may be secrets
		"addresses.txt":    {"ip", "address"},
		"routes.txt":       {"ip", "route"},
		"sockets.txt":      {"ss", "-ltnu"},
		"clock.txt":        {"date", "-u", "+%FT%TZ"},
		"units-failed.txt": {"systemctl", "list-units", "--failed", "--no-pager", "--plain"},
		"kernel.log":       {"journalctl", "-k", "-n", "500", "--no-pager"},
		"state.txt":        {"find", runtime.Home, "-maxdepth", "2", "-printf", "%M %s %p\n"},
	}
	for _, u := range units {
		// status would show command lines, whose arguments may be secrets
		q["unit-"+u+".txt"] = []string{"systemctl", "show", u, "--no-pager", "-p", unitProperties}
		q["unit-"+u+".log"] = []string{"journalctl", "-u", u, "-n", "2000", "--no-pager"}
	}
	return q
}

// bundleCluster asks the first master that answers about the cluster.
func (k *known) bundleCluster(ctx context.Context, b *bundle) {
	var errs []error
	for _, m := range k.cluster.Masters() {
		h := k.hosts[m.Address]
		if h == nil {
			continue
		}
		if err := k.answers(ctx, m); err != nil {
			errs = append(errs, fmt.Errorf("host %s: %w", m.Name(), err))
			continue
		}
		for name, args := range map[string][]string{
			"nodes.txt":      {"get", "nodes", "-o", "wide"},
			"nodes.yaml":     {"get", "nodes", "-o", "yaml"},
			"pods.txt":       {"get", "pods", "-A", "-o", "wide"},
			"pods.yaml":      {"describe", "pods", "-A"},
			"events.txt":     {"get", "events", "-A", "--sort-by=.lastTimestamp"},
			"workloads.txt":  {"get", "deployments,daemonsets,statefulsets,jobs", "-A", "-o", "wide"},
			"components.txt": {"get", "--raw", "/readyz?verbose"},
		} {
			b.add(path.Join("cluster", name), answer(ctx, h, k.driver.Kubectl(args...)))
		}
		return
	}
	b.add("cluster/no-answer.txt", []byte(fmt.Sprintf("no master answers for the cluster\n%v\n", errors.Join(errs...))))
}

// answer is what a command prints, and why it failed if it did.
func answer(ctx context.Context, h host.Host, argv []string) []byte {
	ctx, cancel := context.WithTimeout(ctx, bundleTime)
	defer cancel()
	out := &lastBytes{max: bundleEntry}
	err := h.Run(ctx, host.Command{Argv: argv, Stdout: out})
	text := out.bytes()
	if out.lost > 0 {
		text = append([]byte(fmt.Sprintf("[%d bytes before this are left out]\n", out.lost)), text...)
	}
	if err != nil {
		text = append(text, []byte("\n["+strings.TrimSpace(err.Error())+"]\n")...)
	}
	return text
}
