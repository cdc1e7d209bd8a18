//go:build e2e

// Package buildkit tests builder/buildkit with a real daemon.
package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder"
	"github.com/sealrt/sealrt/builder/buildkit"
	"github.com/sealrt/sealrt/builder/sandbox"
	"github.com/sealrt/sealrt/e2e/buildkit/buildkitd"
)

// bed is a daemon, an engine that uses it, and trees to work on.
type bed struct {
	engine *buildkit.Engine
	meter  *meter
	shell  tree // has one
	plain  tree // has none
}

const noiseSize = 4 << 20

func newBed(t *testing.T) *bed {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "buildkitd.sock")
	buildkitd.Start(t, "unix://"+socket, "--oci-worker-snapshotter=overlayfs")
	b := &bed{meter: startMeter(t, socket)}
	b.trees(t)
	tools := newTree(t, b.plain.store, shell(t)).tag(t, "tools:1")
	b.open(t, "buildkit://unix://"+b.meter.socket, buildkit.Options{Store: b.plain.store, Tools: tools})
	return b
}

func (b *bed) trees(t *testing.T) {
	t.Helper()
	store := newStore(t)
	above := []layer.Entry{layer.Whiteout("data/over"), file("data/above", "above"), file("noise", noise(noiseSize))}
	b.shell = newTree(t, store, shell(t), data(), above)
	b.plain = newTree(t, store, data(), above)
}

func (b *bed) open(t *testing.T, address string, o buildkit.Options) {
	t.Helper()
	var err error
	if b.engine, err = buildkit.Open(t.Context(), address, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.engine.Close() })
}

// run runs a command and returns what it changed and said.
func (b *bed) run(t *testing.T, c builder.Command) ([]layer.Entry, string, error) {
	t.Helper()
	var log bytes.Buffer
	c.Log = &log
	changes, err := b.engine.Run(t.Context(), c)
	if err != nil {
		return nil, log.String(), err
	}
	t.Cleanup(func() {
		if err := changes.Close(); err != nil {
			t.Error(err)
		}
	})
	return changes.Entries, log.String(), nil
}

// said runs a command that has to succeed and returns what it said.
func (b *bed) said(t *testing.T, c builder.Command) string {
	t.Helper()
	_, log, err := b.run(t, c)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	return log
}

// TestDaemonElsewhere has a daemon as a build farm runs it: at a TCP address that wants certificates. It keeps trees in
// plain directories, so that it compares them file by file, and allows commands its own network.
func TestDaemonElsewhere(t *testing.T) {
	certs := buildkitd.NewCertificates(t)
	address := buildkitd.FreeAddress(t)
	buildkitd.Start(t, "tcp://"+address, "--oci-worker-snapshotter=native", "--allow-insecure-entitlement", "network.host",
		"--tlscacert", filepath.Join(certs, "ca.pem"), "--tlscert", filepath.Join(certs, "cert.pem"), "--tlskey", filepath.Join(certs, "key.pem"))
	b := &bed{}
	b.trees(t)
	tools := newTree(t, newStore(t), shell(t)) // elsewhere, too
	o := buildkit.Options{Store: b.plain.store, ToolsFrom: tools.store, Tools: tools.tag(t, "tools:1"), TLS: buildkit.TLS{Dir: certs}}
	for name, bad := range map[string]buildkit.TLS{"clear": {}, "unknown to it": {CA: filepath.Join(certs, "ca.pem")}, "unknown to us": {CA: filepath.Join(buildkitd.NewCertificates(t), "ca.pem")}} {
		wrong := o
		wrong.TLS = bad
		if e, err := buildkit.Open(t.Context(), "tcp://"+address, wrong); err == nil {
			e.Close()
			t.Errorf("a connection %s was good enough", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	b.open(t, "buildkit://tcp://"+address, o)
	t.Run("changes", b.testChangesAreThoseOfTheSandbox)
	t.Run("stubs", b.testMountPointsLeaveNoTrace)
	c := b.plain.command(false, "cat /proc/net/dev | grep -c :")
	c.Network = sandbox.NetworkHost
	data, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := b.said(t, c), fmt.Sprintln(strings.Count(string(data), "\n")-2); got != want {
		t.Errorf("%s interfaces, want those of the machine, %s", got, want)
	}
}

// TestEngine shares one daemon among its parts.
func TestEngine(t *testing.T) {
	b := newBed(t)
	t.Run("travel", b.testOnlyWhatIsMissingTravels)
	t.Run("changes", b.testChangesAreThoseOfTheSandbox)
	t.Run("mounts", b.testMounts)
	t.Run("stubs", b.testMountPointsLeaveNoTrace)
	t.Run("process", b.testProcess)
	t.Run("network", b.testNetwork)
	t.Run("exit", b.testExitCodes)
	t.Run("cancel", b.testCancelledCommandIsKilled)
	t.Run("cache", b.testEqualCommandsRunOnce)
	t.Run("concurrent", b.testCommandsRunSideBySide)
	t.Run("leftovers", b.testNothingIsLeftInTheStore)
}

func (b *bed) testOnlyWhatIsMissingTravels(t *testing.T) {
	for i, sends := range []bool{true, false} {
		sent, received := b.meter.sent.Load(), b.meter.received.Load()
		entries, _, err := b.run(t, b.shell.command(true, "echo "+strings.Repeat("x", i+1)+" > data/new"))
		if err != nil {
			t.Fatal(err)
		}
		if len(list(t, entries)) == 0 {
			t.Error("nothing changed")
		}
		sent, received = b.meter.sent.Load()-sent, b.meter.received.Load()-received
		t.Logf("command %d: %d bytes sent, %d received", i+1, sent, received)
		if sends != (sent > noiseSize) || !sends && sent > 256<<10 || received > 256<<10 {
			t.Errorf("command %d: %d bytes sent, %d received", i+1, sent, received)
		}
	}
}

// changing are commands that work in a tree with a shell at / and without one at /rootfs, from the working directory.
var changing = map[string]string{
	"nothing":          "true",
	"read":             "cat data/keep > /dev/null; ls -lR data > /dev/null",
	"create":           "echo new > data/new; mkdir -p made/deep; echo x > made/deep/file; echo > made/empty; chmod 711 made",
	"modify":           "echo after > data/modify; echo more >> data/owned",
	"delete":           "rm data/delete data/dir/b; rmdir data/empty; rm -r data/other",
	"mode":             "chmod 4755 data/mode; chmod 2775 data/dir; chmod 1777 data/empty; chown 7:8 data/keep",
	"links":            "ln -s /nowhere data/dangling; ln -sf modify data/link; ln data/first data/second; ln data/second made; echo l > l1; ln l1 l2; ln l2 data/l3; ln data/link l4",
	"replace dir":      "rm -r data/dir; mkdir data/dir; echo n > data/dir/new; mkdir data/dir/sub; echo c2 > data/dir/sub/d",
	"dir to file":      "rm -r data/dir; echo f > data/dir",
	"file to dir":      "rm data/keep; mkdir data/keep; echo f > data/keep/in",
	"file to link":     "rm data/keep; ln -s modify data/keep",
	"move":             "mv data/first data/moved; mv data/dir/sub data/sub2",
	"back and forth":   "rm data/keep; echo other > data/keep; mkdir t; rmdir t; echo x > t; rm t",
	"again what is":    "cp data/above x; rm data/above; mv x data/above",
	"whiteout of base": "test ! -e data/over; echo back > data/over",
	"odd names":        "echo x > 'a b'; echo y > 'ü\n'; echo z > -- 2>/dev/null; mkdir 'new\\line'; echo q > \"it's\"",
	"long name":        "d=$(for i in 1 2 3 4 5; do for j in 0 1 2 3 4 5 6 7 8 9; do printf abcde; done; printf /; done); mkdir -p $d; echo deep > ${d}file",
	"large":            "cat noise noise > data/large",
}

func (b *bed) testChangesAreThoseOfTheSandbox(t *testing.T) {
	program := buildLocal(t)
	entries := map[string][]layer.Entry{"shell": b.shell.entries(t), "plain": b.plain.entries(t)}
	for name, script := range changing {
		for kind, tr := range map[string]tree{"shell": b.shell, "plain": b.plain, "empty": {store: b.plain.store}} {
			if kind == "empty" && name != "nothing" {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				c := tr.command(kind == "shell", script)
				want := tr.local(t, program, c)
				got, log, err := b.run(t, c)
				if err != nil {
					t.Fatalf("%v\n%s", err, log)
				}
				before := list(t, entries[kind])
				if diff := cmp.Diff(list(t, entries[kind], want), list(t, entries[kind], got)); diff != "" {
					t.Errorf("the trees differ:\n%s", diff)
				}
				if diff := cmp.Diff(names(before, want), names(before, got)); diff != "" {
					t.Logf("the same tree, said in another way:\n%s", diff)
				}
			})
		}
	}
}

func (b *bed) testMounts(t *testing.T) {
	source := newTree(t, b.plain.store, []layer.Entry{file("sub/dir/f", "bound"), file("g", "file")})
	mounts := func(c builder.Command, m ...builder.Mount) builder.Command { c.Mounts = m; return c }
	for _, in := range []struct {
		root string
		tree tree
	}{{"/", b.shell}, {"/rootfs/", b.plain}} {
		run := func(script string, m ...builder.Mount) string {
			t.Helper()
			return b.said(t, mounts(in.tree.command(in.root == "/", script), m...))
		}
		check := func(want, got string) {
			t.Helper()
			if got != want {
				t.Errorf("at %s: said %q, want %q", in.root, got, want)
			}
		}
		check("bound\n", run("cat "+in.root+"mnt/f; echo", builder.Mount{
			Type: builder.MountBind, Target: in.root + "mnt", ReadOnly: true, Layers: source.layers, Source: "sub/dir"}))
		check("file\n", run("cat "+in.root+"one; echo; ! echo x 2>/dev/null > "+in.root+"one", builder.Mount{
			Type: builder.MountBind, Target: in.root + "one", ReadOnly: true, Layers: source.layers, Source: "g"}))
		check("x\n", run("echo x > "+in.root+"mnt/new; cat "+in.root+"mnt/new", builder.Mount{
			Type: builder.MountBind, Target: in.root + "mnt", Layers: source.layers}))
		check("", run("ls "+in.root+"mnt", builder.Mount{Type: builder.MountBind, Target: in.root + "mnt", ReadOnly: true}))

		cache := builder.Mount{Type: builder.MountCache, Target: in.root + "cache", ID: "c" + in.root, Sharing: "locked", Mode: 0o750, UID: 5, GID: 6}
		check("750 5:6\n", run("stat -c '%a %u:%g' "+in.root+"cache; echo kept > "+in.root+"cache/f", cache))
		check("kept\n", run("cat "+in.root+"cache/f", cache))
		seeded := builder.Mount{Type: builder.MountCache, Target: in.root + "seeded", ID: "s" + in.root, Layers: source.layers, Source: "sub"}
		check("bound\n", run("cat "+in.root+"seeded/dir/f; echo", seeded))

		check("tmpfs\n", run("grep ' "+in.root+"t ' /proc/mounts | { read a b c d; echo $c; }; ! head -c 2000000 /dev/zero 2>/dev/null > "+in.root+"t/f",
			builder.Mount{Type: builder.MountTmpfs, Target: in.root + "t", Size: 1 << 20}))

		check("s3cret 440 7:8\nenv s3cret\n", run("echo $(cat /run/secrets/s) $(stat -c '%a %u:%g' /run/secrets/s); echo env $S",
			builder.Mount{Type: builder.MountSecret, Target: "/run/secrets/s", Secret: []byte("s3cret"), Mode: 0o440, UID: 7, GID: 8},
			builder.Mount{Type: builder.MountSecret, Secret: []byte("s3cret"), Env: "S"}))
	}
	c := mounts(b.shell.command(true, "true"), builder.Mount{Type: builder.MountSecret, Target: "/s", Secret: make([]byte, 600<<10)})
	if _, _, err := b.run(t, c); err == nil || !strings.Contains(err.Error(), "mount at /s: the secret has") {
		t.Errorf("a large secret: %v", err)
	}
}

func (b *bed) testMountPointsLeaveNoTrace(t *testing.T) {
	for _, in := range []struct {
		root string
		tree tree
	}{{"/", b.shell}, {"/rootfs/", b.plain}} {
		for script, want := range map[string][]string{
			"true":                            nil,
			"touch " + in.root + "deep/in/f":  {"deep", "deep/in", "deep/in/f"},
			"chmod 755 " + in.root + "closed": {"closed"},
			"echo x > " + in.root + "data/m":  {"data/m"},
		} {
			tr := in.tree.plus(t, []layer.Entry{dir("closed", 0o700)}, layer.Zstd)
			c := tr.command(in.root == "/", script)
			c.CAFile = "/etc/hostname"
			for _, target := range []string{"new", "deep/in/here", "closed/in", "data/dir"} {
				c.Mounts = append(c.Mounts, builder.Mount{Type: builder.MountTmpfs, Target: in.root + target})
			}
			c.Mounts = append(c.Mounts, builder.Mount{Type: builder.MountSecret, Target: in.root + "run/secrets/s", Secret: []byte("s")})
			got, log, err := b.run(t, c)
			if err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			before := tr.list(t)
			var changed []string
			for name, is := range list(t, tr.entries(t), got) {
				if before[name] != is {
					changed = append(changed, name)
				}
			}
			if diff := cmp.Diff(sorted(want), sorted(changed)); diff != "" {
				t.Errorf("%s at %s: %s", script, in.root, diff)
			}
		}
	}
}

func (b *bed) testProcess(t *testing.T) {
	c := b.shell.command(true, "pwd; hostname; echo $HOME $PATH $A; id -u; id -g; test -z \"$SSL_CERT_FILE\"; grep -q '10.1.2.3.*some.host' /etc/hosts; grep -c 2001:db8::1 /etc/hosts")
	c.Dir, c.User, c.Env, c.AddHosts = "/data/dir", "3:4", []string{"A=b c"}, []string{"some.host:10.1.2.3", "six=[2001:db8::1]"}
	want := "/data/dir\nsealrt\n/ /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin b c\n3\n4\n1\n"
	if got := b.said(t, c); got != want {
		t.Errorf("in the tree: %q, want %q", got, want)
	}
	c = b.plain.command(false, "pwd; echo $HOME $PATH; echo $INSTALL_K3S_BIN_DIR; cat keep")
	c.Dir = "/data"
	want = "/rootfs/data\n/tmp /rootfs/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/rootfs/bin\nkeep"
	if got := b.said(t, c); got != want {
		t.Errorf("in the sandbox: %q, want %q", got, want)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("some authority\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []builder.Command{
		b.plain.command(false, "echo $SSL_CERT_FILE $CURL_CA_BUNDLE; head -n 1 $SSL_CERT_FILE"),
		b.shell.command(true, "echo $SSL_CERT_FILE $CURL_CA_BUNDLE; head -n 1 $SSL_CERT_FILE"),
	} {
		c.CAFile = ca
		if got := b.said(t, c); got != sandbox.CABundle+" "+sandbox.CABundle+"\nsome authority\n" {
			t.Errorf("authorities: %q", got)
		}
		c.Argv, c.Script = nil, []byte("#!/bin/sh -e\necho script; cat data/keep\n")
		if got := b.said(t, c); got != "script\nkeep" {
			t.Errorf("a script: %q", got)
		}
	}
}

func (b *bed) testNetwork(t *testing.T) {
	c := b.shell.command(true, "cat /proc/net/dev | grep -c :")
	c.Network = sandbox.NetworkNone
	if got := b.said(t, c); got != "1\n" {
		t.Errorf("interfaces without a network: %q, want only the loopback", got)
	}
	c.Network = sandbox.NetworkHost
	_, _, err := b.run(t, c)
	if err == nil || !strings.Contains(err.Error(), "start the daemon with --allow-insecure-entitlement network.host") {
		t.Errorf("the host's network, which is not allowed: %v", err)
	}
}

func (b *bed) testExitCodes(t *testing.T) {
	for script, want := range map[string]int{"echo said; exit 7": 7, "sleep 60 & kill -9 $!; wait $!": 137, "no-such-tool": 127} {
		for _, c := range []builder.Command{b.shell.command(true, script), b.plain.command(false, script)} {
			_, log, err := b.run(t, c)
			var exit *sandbox.ExitError
			if !errors.As(err, &exit) || exit.Code != want || want == 7 && log != "said\n" {
				t.Errorf("%s: error %v, said %q", script, err, log)
			}
		}
	}
	c := b.shell.command(true, "")
	c.Argv = []string{"no-such-tool"}
	_, log, err := b.run(t, c)
	t.Logf("a program that is not there: %v; said %q", err, log)
	if err == nil {
		t.Error("a program that is not there ran")
	}
}

func (b *bed) testCancelledCommandIsKilled(t *testing.T) {
	for _, c := range []builder.Command{b.shell.command(true, "echo up; exec sleep 424242"), b.plain.command(false, "echo up; exec sleep 424242")} {
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("enough")
		c.Log = writerFunc(func(p []byte) (int, error) {
			if len(processes(t, "sleep 424242")) == 0 {
				t.Log("the command is not among the processes yet")
			}
			cancel(reason)
			return len(p), nil
		})
		_, err := b.engine.Run(ctx, c)
		if !errors.Is(err, reason) {
			t.Errorf("error %v", err)
		}
		for deadline := time.Now().Add(30 * time.Second); len(processes(t, "sleep 424242")) > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("still there: %v", processes(t, "sleep 424242"))
			}
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (b *bed) testEqualCommandsRunOnce(t *testing.T) {
	for _, c := range []builder.Command{
		b.shell.command(true, "echo ran; cat /proc/sys/kernel/random/uuid > data/id"),
		b.plain.command(false, "echo ran; cat /proc/sys/kernel/random/uuid > data/id"),
	} {
		first, log, err := b.run(t, c)
		if err != nil || log != "ran\n" {
			t.Fatalf("said %q, %v", log, err)
		}
		again, log, err := b.run(t, c)
		if err != nil || log != "" {
			t.Errorf("the second time it said %q, %v", log, err)
		}
		if diff := cmp.Diff(list(t, first), list(t, again)); diff != "" {
			t.Error(diff)
		}
		id, err := b.engine.Identity(t.Context(), c)
		if err != nil || c.HasShell != (id == "buildkit") || !c.HasShell && !strings.HasPrefix(id, "buildkit tools@sha256:") {
			t.Errorf("identity %q, %v", id, err)
		}
	}
}

func (b *bed) testCommandsRunSideBySide(t *testing.T) {
	all := make(chan error)
	const n = 6
	for i := range n {
		go func() {
			tr, word := []tree{b.shell, b.plain}[i%2], strings.Repeat("x", i+1)
			c := tr.command(i%2 == 0, "echo "+word+" > data/mine; cat data/mine")
			var log bytes.Buffer
			c.Log = &log
			changes, err := b.engine.Run(t.Context(), c)
			if err == nil {
				err = changes.Close()
			}
			if err == nil && log.String() != word+"\n" {
				err = fmt.Errorf("command %d said %q", i, &log)
			}
			all <- err
		}()
	}
	for range n {
		if err := <-all; err != nil {
			t.Error(err)
		}
	}
}

func (b *bed) testNothingIsLeftInTheStore(t *testing.T) {
	left, err := os.ReadDir(filepath.Join(b.plain.store.Root(), "trees"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the store: %v, %v", left, err)
	}
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}
