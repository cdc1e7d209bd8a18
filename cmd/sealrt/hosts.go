package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/state"
)

// sshFlags say how hosts are reached.
type sshFlags struct {
	clusterfile.SSH
	askPass       bool
	becomeAskPass bool
	passwordFD    int
	helperDir     string
}

func (f *sshFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.User, "user", "", "log in as `USER` where the address names none")
	flags.IntVar(&f.Port, "port", 0, "SSH port where the address names none")
	flags.StringVar(&f.Identity, "identity", "", "private key `FILE`")
	flags.StringVar(&f.Become, "become", "", "how to become root when logged in as somebody else: sudo or doas")
	flags.BoolVar(&f.AcceptNew, "accept-new-host-key", false, "take the key of a host seen for the first time; a changed key is always refused")
	flags.BoolVar(&f.askPass, "ask-pass", false, "ask for the login password")
	flags.BoolVar(&f.becomeAskPass, "become-ask-pass", false, "ask for the password of sudo or doas")
	flags.StringVar(&f.helperDir, "helper-dir", "", "for hosts of another platform, look in `DIR` for sealrt-linux-arm64 and its like")
	flags.IntVar(&f.passwordFD, "password-fd", -1, "read the password, for the login and for sudo, from this file descriptor")
}

// dialer connects to hosts with one set of answers: each password is asked
// for once.
type dialer struct {
	env   *environment
	flags sshFlags
	keys  string // known_hosts of the cluster, for --accept-new-host-key

	timeout, silence time.Duration // of a connection; 0: what ssh_config says, or the default

	password, becomePassword func() (string, error)
	passphrase               func(file string) (string, error)
	secrets                  *secretReferences
}

func newDialer(env *environment, f sshFlags, s *state.Folder) (*dialer, error) {
	d := &dialer{env: env, flags: f, keys: s.Path("known_hosts"), secrets: &secretReferences{env: env}}
	if f.passwordFD >= 0 {
		secret, err := env.answer(fmt.Sprintf("--password-fd %d", f.passwordFD), func() (string, error) { return readSecretFD(f.passwordFD) })
		if err != nil {
			return nil, err
		}
		d.password = func() (string, error) { return secret, nil }
		d.becomePassword = d.password
	}
	if f.askPass {
		d.password = sync.OnceValues(func() (string, error) { return env.asked("SSH password: ") })
	}
	if f.becomeAskPass {
		d.becomePassword = sync.OnceValues(func() (string, error) { return env.asked("password of " + f.become() + ": ") })
	}
	var mu sync.Mutex
	known := map[string]string{}
	d.passphrase = func(file string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if p, ok := known[file]; ok {
			return p, nil
		}
		p, err := env.asked("passphrase of " + file + ": ")
		if errors.Is(err, errNoTerminal) {
			err = errors.New("there is no terminal to ask on: load the key with ssh-add")
		}
		if err == nil {
			known[file] = p
		}
		return p, err
	}
	return d, nil
}

// merged completes what flags say with what the state says.
func merged(flags, saved clusterfile.SSH) clusterfile.SSH {
	if flags.User == "" {
		flags.User = saved.User
	}
	if flags.Port == 0 {
		flags.Port = saved.Port
	}
	if flags.Identity == "" {
		flags.Identity = saved.Identity
	}
	if flags.Become == "" {
		flags.Become = saved.Become
	}
	if flags.ProxyJump == "" {
		flags.ProxyJump = saved.ProxyJump
	}
	flags.AcceptNew = flags.AcceptNew || saved.AcceptNew
	flags.Password = cmp.Or(flags.Password, saved.Password)
	flags.BecomePassword = cmp.Or(flags.BecomePassword, saved.BecomePassword)
	return flags
}

// become is how root is become: sudo unless told otherwise, which does nothing
// for who is root already.
func (f sshFlags) become() string {
	if f.Become == "" {
		return "sudo"
	}
	return f.Become
}

// answers are secrets that were asked for, by the question: a command that is
// planned again connects again.
type answers struct {
	mu    sync.Mutex
	known map[string]string
}

// answer returns what was answered to a question before, else asks it.
func (e *environment) answer(question string, ask func() (string, error)) (string, error) {
	if e.answers == nil {
		return ask()
	}
	e.answers.mu.Lock()
	defer e.answers.mu.Unlock()
	if known, ok := e.answers.known[question]; ok {
		return known, nil
	}
	text, err := ask()
	if err == nil {
		e.answers.known[question] = text
	}
	return text, err
}

// asked is askSecret, once for each question.
func (e *environment) asked(prompt string) (string, error) {
	return e.answer(prompt, func() (string, error) { return askSecret(e, prompt) })
}

func readSecretFD(fd int) (string, error) {
	file := os.NewFile(uintptr(fd), "password-fd")
	if file == nil {
		return "", fmt.Errorf("--password-fd %d: no such file descriptor", fd)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, 64<<10))
	var is syscall.Stat_t
	none := syscall.Fstat(fd, &is) != nil || is.Mode&syscall.S_IFMT == 0 // Go's own descriptors are of no kind
	if errors.Is(err, syscall.EBADF) || err != nil && none {
		return "", usageError{fmt.Errorf("--password-fd %d: nothing is open there: write %d<FILE at the end of the command", fd, fd)}
	}
	if err != nil {
		return "", fmt.Errorf("--password-fd %d: %w", fd, err)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

var errNoTerminal = errors.New("a password is needed and there is no terminal to ask on: use a key, an agent or --password-fd")

// askSecret asks on the terminal, without echo.
func askSecret(env *environment, prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", errNoTerminal
	}
	defer tty.Close()
	fmt.Fprint(env.stderr, prompt)
	raw, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(env.stderr)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(raw), nil
}

// local is the address that stands for this machine, reached without SSH.
const local = "localhost"

// dial reaches a host as flags say, and where they do not, as is known of it:
// what its entry in the Clusterfile says goes before what that says for all.
func (d *dialer) dial(ctx context.Context, m runtime.Member) (host.Host, error) {
	ssh := sshFlags{SSH: merged(d.flags.SSH, m.SSH)}
	password, err := d.secret(d.password, "ssh.password", ssh.Password, "SSH password: ")
	if err != nil {
		return nil, err
	}
	becomePassword, err := d.secret(d.becomePassword, "ssh.becomePassword", ssh.BecomePassword, "password of "+ssh.become()+": ")
	if err != nil {
		return nil, err
	}
	if m.Address == local {
		return &host.Local{Become: ssh.become(), BecomePassword: becomePassword}, nil
	}
	addresses, err := host.ParseAddresses(m.Address)
	if err != nil {
		return nil, err
	}
	a := addresses[0]
	if a.User == "" {
		a.User = ssh.User
	}
	if a.Port == 0 {
		a.Port = ssh.Port
	}
	o := host.SSHOptions{
		Address:        a,
		Config:         d.env.sshConfig(),
		Home:           d.env.home,
		LocalUser:      d.env.getenv("USER"),
		Agent:          d.env.getenv("SSH_AUTH_SOCK"),
		Passphrase:     d.passphrase,
		Password:       password,
		ProxyJump:      ssh.ProxyJump,
		Become:         ssh.become(),
		BecomePassword: becomePassword,
		ConnectTimeout: d.timeout,
		Silence:        d.silence,
		AlsoKnown:      d.keys,
	}
	if ssh.Identity != "" {
		o.Identities = []string{d.env.homely(ssh.Identity)}
	}
	if ssh.AcceptNew {
		o.AcceptNew = d.keys
	}
	return host.Dial(ctx, o)
}

// connections are open hosts, by member address.
type connections map[string]host.Host

// Close closes them all.
func (c connections) Close() {
	for _, h := range c {
		h.Close()
	}
}

// unreachedError says which members have no connection, and why.
type unreachedError struct {
	why  map[string]error // by Member.Address
	errs []error          // in the order of the members
}

// Error tells of all of them.
func (e *unreachedError) Error() string { return errors.Join(e.errs...).Error() }

// Unwrap returns the causes.
func (e *unreachedError) Unwrap() []error { return e.errs }

// connect reaches all members at once. Every host that cannot be reached is in
// the error, an *unreachedError; the connections that stand are returned with
// it.
func (d *dialer) connect(ctx context.Context, members []runtime.Member) (connections, error) {
	hosts := make([]host.Host, len(members))
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { hosts[i], errs[i] = d.dial(ctx, m) })
	}
	wg.Wait()
	open, lost := connections{}, &unreachedError{why: map[string]error{}}
	for i, h := range hosts {
		if errs[i] == nil {
			open[members[i].Address] = h
			continue
		}
		lost.why[members[i].Address] = errs[i]
		if !strings.Contains(errs[i].Error(), members[i].Name()) { // a name of ssh_config
			errs[i] = fmt.Errorf("host %s: %w", members[i].Name(), errs[i])
		}
		lost.errs = append(lost.errs, errs[i])
	}
	if len(lost.errs) == 0 {
		return open, nil
	}
	return open, lost
}

// parseMembers reads the hosts of a role as the user wrote them.
func parseMembers(ctx context.Context, env *environment, list string, role runtime.Role) ([]runtime.Member, error) {
	if list == "" {
		return nil, nil
	}
	addresses, err := host.ParseAddresses(list)
	if err != nil {
		return nil, usageError{err}
	}
	var out []runtime.Member
	for _, a := range addresses {
		if a.String() == local {
			m, err := thisMachine(ctx)
			if err != nil {
				return nil, err
			}
			m.Role = role
			out = append(out, m)
			continue
		}
		name, err := host.HostName(host.SSHOptions{Address: a, Config: env.sshConfig(), Home: env.home})
		if err != nil {
			return nil, err
		}
		ip, err := resolve(ctx, a.Host, name)
		if err != nil {
			return nil, err
		}
		out = append(out, runtime.Member{Address: a.String(), Role: role, NodeIP: ip})
	}
	return out, nil
}

// sshConfig is the user's ssh_config(5).
func (e *environment) sshConfig() string { return filepath.Join(e.home, ".ssh", "config") }

// resolve returns the IP address of a host, which is called name on the
// network, as this machine's resolver knows it.
func resolve(ctx context.Context, given, name string) (string, error) {
	ip := net.ParseIP(name)
	if ip == nil {
		found, err := net.DefaultResolver.LookupIPAddr(ctx, name)
		if err != nil {
			return "", fmt.Errorf("host %s: no address of %q is known here: give the IP address, or add the name to /etc/hosts: %w", given, name, err)
		}
		ip = found[0].IP
	}
	if ip.IsLinkLocalUnicast() {
		return "", usageError{fmt.Errorf("host %s: %s is a link-local address, which other hosts do not reach: write the one that they reach as nodeIP of the host in a Clusterfile", given, ip)}
	}
	if ip.IsLoopback() {
		return "", usageError{fmt.Errorf("host %s: %s is this machine's own loopback address, which no other host reaches: give its address on the network, or name no hosts for a cluster on this machine alone", given, ip)}
	}
	return ip.String(), nil
}

// thisMachine is the member that stands for the machine itself.
func thisMachine(ctx context.Context) (runtime.Member, error) {
	// a UDP socket is bound to the address that the default route leads
	// from; nothing is sent
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", "192.0.2.1:9")
	if err != nil {
		return runtime.Member{}, fmt.Errorf("this machine's address: %w (add a default route, or name the host with --masters)", err)
	}
	defer conn.Close()
	ip, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return runtime.Member{}, err
	}
	return runtime.Member{Address: local, Role: runtime.Master, NodeIP: ip}, nil
}
