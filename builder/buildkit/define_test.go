package buildkit

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/solver/pb"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// newEngine returns an engine without a daemon, with tools, and a command on a tree of one layer.
func newEngine(t *testing.T) (*Engine, builder.Command) {
	t.Helper()
	s := newStore(t)
	ref := putImage(t, s, "tools:1", putLayer(t, s, layer.Zstd, file("bin/sh", "x")))
	found, err := findTools(t.Context(), s, nil, ref)
	if err != nil {
		t.Fatal(err)
	}
	l := putLayer(t, s, layer.Zstd, file("f", "x"))
	e := &Engine{address: "unix:///b.sock", store: s, platforms: []v1.Platform{machine}, tools: found}
	return e, builder.Command{
		Layers: []v1.Descriptor{l.Descriptor()}, DiffIDs: []v1.Hash{l.DiffID}, Argv: []string{"tool", "-x"}, Platform: machine,
	}
}

// execOf returns the exec operation of a definition, and the index of the output that is its result.
func execOf(t *testing.T, d *definition) (*pb.ExecOp, int64) {
	t.Helper()
	var exec *pb.ExecOp
	var output int64
	for _, data := range d.llb.Def {
		var op pb.Op
		if err := op.UnmarshalVT(data); err != nil {
			t.Fatal(err)
		}
		if e := op.GetExec(); e != nil {
			exec = e
		}
		if op.Op == nil {
			output = op.Inputs[0].Index
		}
	}
	if exec == nil {
		t.Fatal("nothing is executed")
	}
	return exec, output
}

func define(t *testing.T, e *Engine, c builder.Command) (*definition, *pb.ExecOp, int64) {
	t.Helper()
	d, err := e.define(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	exec, output := execOf(t, d)
	return d, exec, output
}

func mountAt(exec *pb.ExecOp, dest string) *pb.Mount {
	i := slices.IndexFunc(exec.Mounts, func(m *pb.Mount) bool { return m.Dest == dest })
	if i < 0 {
		return nil
	}
	return exec.Mounts[i]
}

func TestTreesWithAShellAreTheRoot(t *testing.T) {
	e, c := newEngine(t)
	c.HasShell, c.Dir, c.User, c.Env = true, "/work", "me:us", []string{"A=b=c", "PATH=/x"}
	c.AddHosts = []string{"a:10.0.0.1", "b=[2001:db8::1]"}
	d, exec, output := define(t, e, c)
	want := &pb.Meta{Args: []string{"tool", "-x"}, Env: []string{"PATH=/x", "A=b=c"}, Cwd: "/work", User: "me:us", Hostname: "sealrt"}
	if diff := cmp.Diff(want.Args, exec.Meta.Args); diff != "" || exec.Meta.Cwd != want.Cwd || exec.Meta.User != want.User || exec.Meta.Hostname != want.Hostname {
		t.Errorf("process %v", exec.Meta)
	}
	if diff := cmp.Diff(want.Env, exec.Meta.Env); diff != "" {
		t.Error(diff)
	}
	if got := exec.Meta.ExtraHosts; len(got) != 2 || got[0].IP != "10.0.0.1" || got[1].Host != "b" || got[1].IP != "2001:db8::1" {
		t.Errorf("hosts %v", got)
	}
	if len(exec.Mounts) != 1 || mountAt(exec, "/").Output != output || exec.Network != pb.NetMode_UNSET {
		t.Errorf("mounts %v, result %d, network %v", exec.Mounts, output, exec.Network)
	}
	if len(d.offer.blobs) != 3 {
		t.Errorf("%d blobs are offered, want a layer, a config and a manifest", len(d.offer.blobs))
	}
}

func TestToolsAreThoseOfTheStoreBeforeOthers(t *testing.T) {
	store, registry := newStore(t), newStore(t)
	ref := putImage(t, registry, "tools:1", putLayer(t, registry, layer.Zstd, file("bin/sh", "theirs")))
	theirs, err := findTools(t.Context(), store, registry, ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := findTools(t.Context(), store, nil, ref); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("nowhere: %v", err)
	}
	putImage(t, store, "tools:1", putLayer(t, store, layer.Zstd, file("bin/sh", "ours")))
	ours, err := findTools(t.Context(), store, registry, ref)
	if err != nil || ours.digest == theirs.digest || ours.source != artifact.Source(store) {
		t.Errorf("in both: %v, %v", ours, err)
	}
}

func TestTreesWithoutAShellAreMountedInTheTools(t *testing.T) {
	e, c := newEngine(t)
	c.Dir = "/work"
	_, exec, output := define(t, e, c)
	tree := mountAt(exec, sandbox.TreeDir)
	if tree == nil || tree.Output != output || tree.Readonly || mountAt(exec, "/").Output == output {
		t.Errorf("mounts %v, result %d", exec.Mounts, output)
	}
	if exec.Meta.Cwd != "/rootfs/work" || !slices.Contains(exec.Meta.Env, "INSTALL_K3S_BIN_DIR=/rootfs/bin") {
		t.Errorf("process %v", exec.Meta)
	}
	c.Layers, c.DiffIDs = nil, nil
	if _, exec, output = define(t, e, c); mountAt(exec, sandbox.TreeDir).Output != output || mountAt(exec, sandbox.TreeDir).Input != -1 {
		t.Errorf("an empty tree: %v", exec.Mounts)
	}
	if id, err := e.Identity(t.Context(), c); err != nil || id != "buildkit tools@"+e.tools.digest.String() {
		t.Errorf("identity %q, %v", id, err)
	}
	e.tools = nil
	if _, err := e.define(t.Context(), c); err == nil || !strings.Contains(err.Error(), "--builder-tools IMAGE") {
		t.Errorf("without tools: %v", err)
	}
	if _, err := e.Identity(t.Context(), c); err == nil || !strings.Contains(err.Error(), "--builder-tools IMAGE") {
		t.Errorf("identity without tools: %v", err)
	}
}

func TestMountsAreThoseOfTheCommand(t *testing.T) {
	e, c := newEngine(t)
	c.HasShell = true
	tree := c.Layers
	c.Mounts = []builder.Mount{
		{Type: builder.MountBind, Target: "/ro", ReadOnly: true, Layers: tree, Source: "f"},
		{Type: builder.MountBind, Target: "/rw", Layers: tree},
		{Type: builder.MountCache, Target: "/cache", ID: "go", Sharing: "locked"},
		{Type: builder.MountCache, Target: "/owned", ID: "own", UID: 5, ReadOnly: true},
		{Type: builder.MountTmpfs, Target: "/tmpfs", Size: 4096},
		{Type: builder.MountSecret, Target: "/secret", Secret: []byte("one"), UID: 1, GID: 2, Mode: 0o440},
		{Type: builder.MountSecret, Env: "TOKEN", Secret: []byte("two")},
	}
	d, exec, _ := define(t, e, c)
	for dest, ok := range map[string]func(*pb.Mount) bool{
		"/ro": func(m *pb.Mount) bool { return m.Readonly && m.Selector == "/f" && m.Output == -1 },
		"/rw": func(m *pb.Mount) bool { return !m.Readonly && m.Output == -1 },
		"/cache": func(m *pb.Mount) bool {
			return m.CacheOpt.ID == "sealrt/go" && m.CacheOpt.Sharing == pb.CacheSharingOpt_LOCKED
		},
		"/owned": func(m *pb.Mount) bool { return m.CacheOpt.ID == "sealrt/own" && m.Selector == "/cache" && m.Readonly },
		"/tmpfs": func(m *pb.Mount) bool { return m.TmpfsOpt.Size == 4096 },
		"/secret": func(m *pb.Mount) bool {
			return m.SecretOpt.Uid == 1 && m.SecretOpt.Gid == 2 && m.SecretOpt.Mode == 0o440
		},
	} {
		if m := mountAt(exec, dest); m == nil || !ok(m) {
			t.Errorf("at %s: %v", dest, m)
		}
	}
	if len(exec.Secretenv) != 1 || exec.Secretenv[0].Name != "TOKEN" {
		t.Errorf("variables %v", exec.Secretenv)
	}
	if diff := cmp.Diff(map[string][]byte{"secret/5": []byte("one"), "secret/6": []byte("two")}, d.secrets); diff != "" {
		t.Error(diff)
	}
	for _, def := range d.llb.Def {
		if strings.Contains(string(def), "one") || strings.Contains(string(def), "two") {
			t.Error("the definition has a secret in it")
		}
	}
	for want, m := range map[string]builder.Mount{
		`mount at /x: a BuildKit daemon has no mounts of type "ssh"`: {Type: "ssh", Target: "/x"},
		`mount at /x: unknown sharing "some"`:                        {Type: builder.MountCache, Target: "/x", Sharing: "some"},
		"mount at /x: the secret has 600000 bytes":                   {Type: builder.MountSecret, Target: "/x", Secret: make([]byte, 600000)},
		"mount at : the secret has neither":                          {Type: builder.MountSecret},
	} {
		c.Mounts = []builder.Mount{m}
		if _, err := e.define(t.Context(), c); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestScriptsAndCertificatesAreMounted(t *testing.T) {
	e, c := newEngine(t)
	c.HasShell, c.Argv, c.Script = true, nil, []byte("#!/bin/sh\ntrue\n")
	c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(c.CAFile, []byte("authority"), 0o644); err != nil {
		t.Fatal(err)
	}
	d, exec, _ := define(t, e, c)
	if m := mountAt(exec, sandbox.ScriptFile); m == nil || !m.Readonly || !slices.Equal(exec.Meta.Args, []string{sandbox.ScriptFile}) {
		t.Errorf("script %v, run as %v", m, exec.Meta.Args)
	}
	if m := mountAt(exec, sandbox.CABundle); m == nil || m.SecretOpt.Mode != 0o444 || !strings.HasPrefix(string(d.secrets["ca"]), "authority") {
		t.Errorf("certificates %v", m)
	}
	if !slices.Contains(exec.Meta.Env, "SSL_CERT_FILE="+sandbox.CABundle) {
		t.Errorf("environment %v", exec.Meta.Env)
	}
	if d.name != "RUN #!/bin/sh" {
		t.Errorf("it is called %q", d.name)
	}
}

func TestDefinitionsDependOnTheCommandAlone(t *testing.T) {
	var digests []string
	for range 2 {
		e, c := newEngine(t)
		c.Mounts = []builder.Mount{{Type: builder.MountSecret, Target: "/s", Secret: []byte(t.TempDir())}}
		d, _, _ := define(t, e, c)
		head, err := d.llb.Head()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, head.String())
	}
	if digests[0] != digests[1] {
		t.Error("the same command is defined in two ways")
	}
}

func TestNetworksAreSaidAsTheyAre(t *testing.T) {
	e, c := newEngine(t)
	for n, want := range map[sandbox.Network]pb.NetMode{"": pb.NetMode_UNSET, sandbox.NetworkNone: pb.NetMode_NONE, sandbox.NetworkHost: pb.NetMode_HOST} {
		c.Network = n
		if _, exec, _ := define(t, e, c); exec.Network != want {
			t.Errorf("network %q: %v", n, exec.Network)
		}
	}
}

func TestForeignPlatformsAreRefused(t *testing.T) {
	e, c := newEngine(t)
	c.Platform = v1.Platform{OS: "linux", Architecture: "mips"}
	_, err := e.define(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "runs programs for "+machine.String()+", not for linux/mips") {
		t.Errorf("error %v", err)
	}
}
