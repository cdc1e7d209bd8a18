package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

func TestCopyPlacesFiles(t *testing.T) {
	context := map[string]string{
		"imageList": "", "a.txt": "a", "b.txt": "b", "Kubefile": "k", "Kubefile.lock": "lock",
		"rootfs/bin/k3s": "k3s", "rootfs/etc/k3s.yaml": "y", "rootfs/README.md": "r", "rootfs/other/x": "x",
		"amd64/bin/crictl": "amd", "arm64/bin/crictl": "arm", "link.txt": "-> a.txt", "rootfs/bin/kubectl": "-> k3s",
	}
	tests := []struct {
		name, lines string
		want        []string
	}{
		{"a file to a well-known directory", "COPY imageList manifests", []string{"manifests/imageList"}},
		{"a file to a well-known directory with a slash", "COPY imageList /manifests/", []string{"manifests/imageList"}},
		{"a file to a new name", "COPY a.txt conf/b", []string{"conf/b"}},
		{"a file to a directory", "COPY a.txt conf/", []string{"conf/a.txt"}},
		{"a file to a directory of an earlier line", "COPY a.txt conf/\nCOPY b.txt conf", []string{"conf/a.txt", "conf/b.txt"}},
		{"a file to the root", "COPY a.txt .", []string{"a.txt"}},
		{"several", "COPY a.txt b.txt x/", []string{"x/a.txt", "x/b.txt"}},
		{"a directory spreads", "COPY rootfs x", []string{"x/README.md", "x/bin/k3s", "x/bin/kubectl", "x/etc/k3s.yaml", "x/other/x"}},
		{"a directory spreads in a well-known one", "COPY rootfs/other charts", []string{"charts/x"}},
		{"well-known names of a glob stay", "COPY rootfs/* .", []string{"README.md", "bin/k3s", "bin/kubectl", "etc/k3s.yaml", "x"}},
		{"a glob elsewhere spreads", "COPY rootfs/* x/", []string{"x/README.md", "x/k3s", "x/k3s.yaml", "x/kubectl", "x/x"}},
		{"ARCH", "COPY ${ARCH} .", []string{"bin/crictl"}},
		{"declared platform", "ARG TARGETARCH\nCOPY $TARGETARCH .", []string{"bin/crictl"}},
		{"everything but the lock", "COPY . .", []string{
			"Kubefile", "a.txt", "amd64/bin/crictl", "arm64/bin/crictl", "b.txt", "imageList", "link.txt",
			"rootfs/README.md", "rootfs/bin/k3s", "rootfs/bin/kubectl", "rootfs/etc/k3s.yaml", "rootfs/other/x",
		}},
		{"exclude", "COPY --exclude=bin --exclude=**/x rootfs .", []string{"README.md", "etc/k3s.yaml"}},
		{"absolute paths begin at the context", "COPY /a.txt /../b", []string{"b"}},
		{"working directory", "WORKDIR /opt/x\nCOPY a.txt b/\nCOPY a.txt .", []string{"opt/x/a.txt", "opt/x/b/a.txt"}},
		{"heredoc", "COPY <<one <<two x/\n1\none\n2\ntwo\n", []string{"x/one", "x/two"}},
		{"a pattern of one file", "COPY imag?List manifests", []string{"manifests/imageList"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := mustBuild(t, options(t, "FROM scratch\nBASE none\n"+tt.lines+"\n", context))
			got := b.names(t)
			got = cut(got, "Metadata")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// cut removes the Metadata that the builder adds to trees with a bin/k3s.
func cut(names []string, out string) []string {
	var left []string
	for _, n := range names {
		if n != out {
			left = append(left, n)
		}
	}
	return left
}

func TestCopyRefuses(t *testing.T) {
	context := map[string]string{
		"imageList": "", "a1": "", "a2": "", "d/x": "", "e/x/": "", "out": "-> /etc/passwd", "up": "-> ../..", "loop": "-> loop", "hidden": "", ".kubefileignore": "hidden\n",
	}
	tests := []struct{ name, lines, want string }{
		{"a missing source", "COPY imagelst manifests", "Kubefile:2:1: imagelst is not in the context: did you mean imageList?"},
		{"a missing source in a directory", "COPY d/y/z x", "Kubefile:2:1: d/y/z is not in the context"},
		{"a pattern without match", "COPY nothing* x/", "Kubefile:2:1: nothing in the context matches nothing*"},
		{"a path out of the context", "COPY d/../../a1 x", "Kubefile:2:1: d/../../a1 leads out of the context: only files inside it can be copied"},
		{"an ignored source", "COPY hidden x", "Kubefile:2:1: hidden is excluded from the context"},
		{"a link out of the context", "COPY out x", "Kubefile:2:1: out leads out of the context"},
		{"a way out of the context", "COPY up/etc x", "Kubefile:2:1: up/etc leads out of the context"},
		{"a link to itself", "COPY loop x", "Kubefile:2:1: loop is a link that leads to itself"},
		{"several to one file", "COPY a1 a2 x", "Kubefile:2:1: with several sources the destination is a directory: write x/"},
		{"a pattern of several to one file", "COPY a* x", "Kubefile:2:1: COPY a* x: the pattern means several files"},
		{"a user's name", "COPY --chown=alice a1 x", "Kubefile:2:1: COPY --chown=alice a1 x: --chown=alice: the tree has no etc/passwd to find alice in"},
		{"all mistakes", "COPY no1 x\nCOPY no2 x", "Kubefile:2:1: no1 is not in the context\nKubefile:3:1: no2 is not in the context"},
		{"a file over a directory", "COPY a1 x/y\nCOPY <<x /\nx\n", "Kubefile:3:1: COPY"},
		{"a directory over a file", "COPY a1 x\nCOPY d x", "Kubefile:3:1: COPY d x: x is a file in the image, and no directory can take its place: RUN rm it first"},
		{"a file as a directory", "COPY a1 x\nCOPY a2 x/", "Kubefile:3:1: COPY a2 x/: x is a file in the image"},
		{"a file on the way", "COPY a1 x\nCOPY a2 x/y/z", "Kubefile:3:1: COPY a2 x/y/z: x is a file in the image"},
		{"a file on the way to a working directory", "COPY a1 x\nWORKDIR /x/y", "Kubefile:3:1: WORKDIR /x/y: x is a file in the image"},
		{"a directory and a file of one name", "COPY e <<x /\nx\n", "Kubefile:2:1: COPY <<x e /: x is copied as a file and as a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := failing(t, options(t, "FROM scratch\n"+tt.lines+"\n", context))
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWhatCannotBeReadIsNamedWithAWayOut(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY d x\nCOPY . .\n", map[string]string{"d/f": "", "g": ""})
	for _, name := range []string{"d", "g"} {
		if err := os.Chmod(filepath.Join(o.Context, name), 0); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(filepath.Join(o.Context, name), 0o700)
	}
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	want := "Kubefile:2:1: openat d: permission denied: make it readable, or name it in .kubefileignore"
	if got := failing(t, o); !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	o.File = parse(t, "FROM scratch\nCOPY g x\n")
	if got := failing(t, o); !strings.HasSuffix(got, "permission denied: make it readable, or name it in .kubefileignore") {
		t.Errorf("got  %s", got)
	}
}

func TestCopyKeepsLinksInsideDirectories(t *testing.T) {
	b := mustBuild(t, options(t, "FROM scratch\nCOPY rootfs .\nCOPY rootfs/bin/kubectl x\n", map[string]string{
		"rootfs/bin/k3s": "k3s", "rootfs/bin/kubectl": "-> k3s", "rootfs/etc/passwd": "-> /etc/passwd",
	}))
	got := b.files(t)
	if got["bin/kubectl"] != "-> k3s" || got["etc/passwd"] != "-> /etc/passwd" || got["x"] != "k3s" {
		t.Errorf("files %q", got)
	}
}

func TestCopyFollowsIgnoreFile(t *testing.T) {
	for _, name := range []string{".kubefileignore", ".dockerignore"} {
		b := mustBuild(t, options(t, "FROM scratch\nCOPY . .\n", map[string]string{
			name: "# comment\n*.tmp\nsecret\n!secret/keep\n" + name + "\n", "a": "", "b.tmp": "", "d/c.tmp": "", "secret/x": "", "secret/keep": "",
		}))
		if diff := cmp.Diff([]string{"a", "d/c.tmp", "secret/keep"}, b.names(t)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTheStoreIsNoPartOfTheContext(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY . .\n", map[string]string{"a": "", "sub/b": "", ".dockerignore": "a\n!a\n"})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(o.Context, link); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(filepath.Join(link, "sub", "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o.Store = s
	told := notes(&o)
	b := mustBuild(t, o)
	if diff := cmp.Diff([]string{".dockerignore", "a", "sub/b"}, b.names(t)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(told.String(), "the store, sub/store, is no part of the context") {
		t.Errorf("nobody was told: %s", told)
	}
	o.File = parse(t, "FROM scratch\nCOPY sub/store/index.json .\n")
	if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "sub/store/index.json is never part of the context") {
		t.Errorf("error %v", err)
	}
}

// JSON, in which the cache keeps listings, cannot say every name.
func TestNamesThatAreNotUTF8SurviveTheCache(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY . .\n", map[string]string{"d\xff/f": ""})
	if err := os.Chmod(filepath.Join(o.Context, "d\xff"), 0o700); err != nil {
		t.Fatal(err)
	}
	mustBuild(t, o)
	o.File, o.NoCache = parse(t, "FROM test:1\nCOPY . /\n"), true
	o.Context = writeContext(t, map[string]string{"d\xff/g": ""})
	o.Tags = nil
	first, second := mustBuild(t, o), mustBuild(t, o)
	if first.desc.Digest != second.desc.Digest {
		t.Error("the second build, which reads the base's listing from the cache, made another image")
	}
}

func TestCopySetsModesAndOwners(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY bin bin\nCOPY --chown=10:20 --chmod=4755 bin/k3s x/y\nCOPY <<\"f\" <<g /\n$ARCH\nf\n$ARCH\ng\n",
		map[string]string{"bin/k3s": "1", "bin/setuid": "2"})
	if err := os.Chmod(filepath.Join(o.Context, "bin/setuid"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	b := mustBuild(t, o)
	all := newTree()
	for _, d := range b.manifest.Layers {
		entries := listLayer(t, o.Store, d)
		all.apply(entries)
	}
	want := map[string]layer.Entry{
		"bin":        {Name: "bin", Mode: os.ModeDir | 0o755},
		"bin/k3s":    {Name: "bin/k3s", Mode: 0o755, Size: 1},
		"bin/setuid": {Name: "bin/setuid", Mode: 0o755 | os.ModeSetuid, Size: 1},
		"x":          {Name: "x", Mode: os.ModeDir | 0o755, UID: 10, GID: 20},
		"x/y":        {Name: "x/y", Mode: 0o755 | os.ModeSetuid, Size: 1, UID: 10, GID: 20},
		"f":          {Name: "f", Mode: 0o644, Size: 6},
		"g":          {Name: "g", Mode: 0o644, Size: 6},
	}
	for name, w := range want {
		n := all.node(name)
		if n == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		got := *n.Entry
		got.Open, got.Version = nil, ""
		if diff := cmp.Diff(w, got); diff != "" {
			t.Error(diff)
		}
	}
	if got := b.files(t); got["f"] != "$ARCH\n" || got["g"] != "amd64\n" {
		t.Errorf("heredocs %q %q", got["f"], got["g"])
	}
}

func TestCopyKeepsDirectoriesAndLinksOfTheImage(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY base /\nCOPY x lib/\nCOPY rootfs /\nCOPY x tmp/\n", map[string]string{
		"base/usr/lib/": "", "base/lib": "-> usr/lib", "base/tmp/keep": "", "x": "x", "rootfs/lib/y": "y",
	})
	if err := os.Chmod(filepath.Join(o.Context, "base/tmp"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	b := mustBuild(t, o)
	if diff := cmp.Diff([]string{"lib", "tmp/keep", "tmp/x", "usr/lib/x", "usr/lib/y"}, b.names(t)); diff != "" {
		t.Error(diff)
	}
	entries := listLayer(t, o.Store, b.manifest.Layers[3])
	if got := entries[0]; got.Name != "tmp" || got.Mode != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("%s has mode %v, want that of the image", got.Name, got.Mode)
	}
}

func TestLinkToNothingSaysWhereItLeads(t *testing.T) {
	files := map[string]string{"d/link": "-> gone", "d/f": ""}
	for text, want := range map[string]string{
		"FROM scratch\nCOPY d/link /x\n":                                        "d/link is a link to gone, which is not in the context",
		"FROM scratch AS a\nCOPY d /d\nFROM scratch\nCOPY --from=a d/link /x\n": "d/link is a link to gone, which is not in a",
	} {
		if got := failing(t, options(t, text, files)); !strings.HasSuffix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
