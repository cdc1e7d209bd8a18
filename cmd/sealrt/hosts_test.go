package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/state"
)

// lan is two machines with a password each, and who reaches them.
type lan struct {
	servers [2]*hosttest.Server
	env     *environment
	state   *state.Folder
}

func newLAN(t *testing.T) *lan {
	t.Helper()
	l := &lan{}
	home := t.TempDir()
	vars := map[string]string{"FIRST": "pass-1"}
	l.env = &environment{home: home, stderr: &bytes.Buffer{}, getenv: func(name string) string { return vars[name] }}
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	var known string
	for i := range l.servers {
		s, err := hosttest.NewServer(hosttest.ServerOptions{Password: fmt.Sprintf("pass-%d", i+1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		l.servers[i] = s
		known += s.KnownHosts()
	}
	l.write(t, ".ssh/known_hosts", known, 0o600)
	var err error
	if l.state, err = state.Open(t.TempDir(), "test"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.state.Close() })
	return l
}

func (l *lan) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(l.env.home, name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// connect reaches the hosts of a specification by the flags.
func (l *lan) connect(t *testing.T, flags sshFlags, spec clusterfile.Spec) error {
	t.Helper()
	members, err := runtime.MembersOf(spec)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDialer(l.env, flags, l.state)
	if err != nil {
		t.Fatal(err)
	}
	open, err := d.connect(t.Context(), members)
	open.Close()
	return err
}

func (l *lan) host(i int, ssh clusterfile.SSH) clusterfile.Host {
	ssh.Port = l.servers[i].Port()
	return clusterfile.Host{Address: clusterfile.Strings{"127.0.0.1"}, Role: "master", SSH: ssh}
}

func noFlags() sshFlags { return sshFlags{passwordFD: -1} }

func TestEachHostIsReachedInItsOwnWay(t *testing.T) {
	l := newLAN(t)
	l.write(t, "second", "pass-2\nnot this\n", 0o600)
	spec := clusterfile.Spec{
		SSH: clusterfile.SSH{User: "all", Port: 1, Password: "env:FIRST"},
		Hosts: []clusterfile.Host{
			l.host(0, clusterfile.SSH{}),
			l.host(1, clusterfile.SSH{User: "own", Password: "file:~/second"}),
		},
	}
	// one address twice: the port tells them apart
	spec.Hosts[1].Address[0] = fmt.Sprintf("127.0.0.1:%d", l.servers[1].Port())
	if err := l.connect(t, noFlags(), spec); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"all", "own"}, []string{strings.Join(l.servers[0].Users(), " "), strings.Join(l.servers[1].Users(), " ")}); diff != "" {
		t.Errorf("users: %s", diff)
	}
	flags := noFlags()
	flags.User = "flag"
	if err := l.connect(t, flags, spec); err != nil {
		t.Fatal(err)
	}
	if got := l.servers[1].Users(); got[len(got)-1] != "flag" {
		t.Errorf("the flag does not go before: %v", got)
	}
}

func TestPasswordsThatCannotBeFoundAreNamedAndNotShown(t *testing.T) {
	l := newLAN(t)
	l.write(t, "open", "pass-1\n", 0o644)
	l.write(t, "empty", "\n", 0o600)
	for reference, want := range map[string]string{
		"hunter2":          "ssh.password is no reference to a password: write prompt, env:NAME or file:PATH",
		"env:":             "no reference",
		"env:UNSET":        "environment variable UNSET is not set",
		"file:/no/such":    "/no/such",
		"file:~/open":      "can be read by others: chmod 600 it",
		"file:~/empty":     "is empty",
		"vault:secret/ssh": "no reference",
	} {
		err := l.connect(t, noFlags(), clusterfile.Spec{Hosts: []clusterfile.Host{l.host(0, clusterfile.SSH{User: "root", Password: reference})}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q in it", reference, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "pass-1")) {
			t.Errorf("a password is in %v", err)
		}
	}
}

func TestHostsThatAreNotReachedAreToldOneByOne(t *testing.T) {
	l := newLAN(t)
	gone := l.host(1, clusterfile.SSH{User: "root"})
	gone.Address[0] = fmt.Sprintf("127.0.0.1:%d", l.servers[1].Port())
	if err := l.servers[1].Close(); err != nil {
		t.Fatal(err)
	}
	spec := clusterfile.Spec{Hosts: []clusterfile.Host{l.host(0, clusterfile.SSH{User: "root", Password: "env:FIRST"}), gone}}
	members, err := runtime.MembersOf(spec)
	if err != nil {
		t.Fatal(err)
	}
	k := &known{env: l.env, cluster: &runtime.Cluster{Spec: spec, Members: members}}
	if k.dial, err = newDialer(l.env, noFlags(), l.state); err != nil {
		t.Fatal(err)
	}
	defer func() { k.hosts.Close() }()
	if err := k.approach(t.Context()); err != nil {
		t.Fatalf("one host answers, and still: %v", err)
	}
	if why := k.unreached[gone.Address[0]]; len(k.hosts) != 1 || why == nil || !strings.Contains(why.Error(), "connection refused") {
		t.Errorf("reached %d, lost %v", len(k.hosts), k.unreached)
	}
	k.hosts.Close()
	k.cluster.Members = members[1:]
	var lost *unreachedError
	if err := k.approach(t.Context()); !errors.As(err, &lost) {
		t.Errorf("no host answers: error is %v", err)
	}
}
