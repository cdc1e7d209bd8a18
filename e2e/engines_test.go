//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/e2e/buildkit/buildkitd"
)

// engines is a bench with a BuildKit daemon, and an image with a shell in the
// registry: Debian's busybox and curl.
type engines struct {
	*bench
	socket  string
	context string
}

func newEngines(t *testing.T) *engines {
	t.Helper()
	e := &engines{bench: newBench(t), context: t.TempDir()}
	e.socket = filepath.Join(t.TempDir(), "buildkitd.sock")
	buildkitd.Start(t, "unix://"+e.socket)
	shell := t.TempDir()
	writeShell(t, shell)
	e.sealrt(t, "shell", "build", "-q", "-t", e.registry+"/shell:1", "--push", shell)
	for name, content := range map[string]string{
		"kept": "kept\n", "gone/a": "a", "gone/b/c": "c", "replaced": "a file", "dir/a": "a", "dir/b/c": "c", "moved": "m", "again/old": "o",
	} {
		writeFile(t, filepath.Join(e.context, "data", name), content)
	}
	writeFile(t, filepath.Join(e.context, "token"), "s3cret")
	return e
}

// writeShell makes a context whose image has a shell and tools.
func writeShell(t *testing.T, dir string) {
	t.Helper()
	list, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		t.Fatalf("%v: apt-get install -y busybox-static", err)
	}
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatalf("%v: apt-get install -y curl", err)
	}
	libraries, err := exec.Command("ldd", curl).Output()
	if err != nil {
		t.Fatalf("ldd: %v", err)
	}
	files := map[string]string{"/bin/busybox": "/bin/busybox", "/usr/bin/curl": curl}
	for _, word := range strings.Fields(string(libraries)) {
		if strings.HasPrefix(word, "/") {
			files[word] = word
		}
	}
	for to, from := range files {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, to), string(content))
		if err := os.Chmod(filepath.Join(dir, to), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, applet := range strings.Fields(string(list)) {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil && applet != "busybox" {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "etc", "passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/srv/app:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n")
	writeFile(t, filepath.Join(dir, "etc", "group"), "root:x:0:\napp:x:1001:\nwheel:x:10:app\nnogroup:x:65534:\n")
	writeFile(t, filepath.Join(dir, "Kubefile"), "FROM scratch\nCOPY --exclude=Kubefile . /\nRUN --network=none mkdir -m 1777 tmp && mkdir -m 700 root\nBASE none\n")
}

// kubefile writes a Kubefile; REG in it is the registry.
func (e *engines) kubefile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "Kubefile")
	writeFile(t, name, strings.ReplaceAll(text, "REG", e.registry))
	return name
}

// engine returns the flags of an engine, "local" or "buildkit", which has a
// store of that name.
func (e *engines) engine(name string) []string {
	if name == "buildkit" {
		return []string{"--builder", "buildkit://unix://" + e.socket, "--builder-tools", e.registry + "/shell:1"}
	}
	return []string{"--builder", name}
}

// build builds with an engine and returns the digest.
func (e *engines) build(t *testing.T, engine, kubefile string, args ...string) string {
	t.Helper()
	start := time.Now()
	args = append([]string{"build", "-f", kubefile, "-t", "built:1", e.context}, args...)
	digest := strings.TrimSpace(e.sealrt(t, engine, append(args, e.engine(engine)...)...))
	t.Logf("%s: %.1f s", engine, time.Since(start).Seconds())
	return digest
}

// alike are Kubefiles that the engines have to make the same image of.
var alike = map[string]string{
	"stages": `ARG GREETING=hello
FROM REG/shell:1 AS tools
ARG GREETING
ENV MODE=strict LEVEL=$GREETING
WORKDIR /work/deep
RUN echo $LEVEL > said; mkdir -p d/e; echo x > d/e/f; ln -s said link; ln said hard; chmod 4750 d/e/f; chmod 1777 d
COPY data tree
RUN rm -r tree/gone; rm tree/replaced; mkdir tree/replaced; echo new > tree/replaced/in; rm -r tree/dir; echo file > tree/dir
RUN mv tree/moved tree/there; chown 7:8 tree/there; chmod 600 tree/kept; rm -r tree/again && mkdir tree/again && echo back > tree/again/file
USER app
RUN id > /tmp/who; echo $HOME $(pwd) $(hostname) $0 $(umask) >> /tmp/who; : > $(mktemp -u)
RUN grep Groups /proc/self/status >> /tmp/who
USER 5:6
RUN id -u > /tmp/number; id -g >> /tmp/number; echo $HOME >> /tmp/number; grep Groups /proc/self/status >> /tmp/number
USER root
SHELL ["/bin/sh", "-ec"]
RUN false || echo $0 > /tmp/shell; grep Groups /proc/self/status >> /tmp/shell
RUN ["cp", "/tmp/who", "/work/deep/who"]
FROM scratch
COPY --from=tools /work/deep /
COPY --from=tools /tmp/number /tmp/shell logs/
BASE none
`,
	"heredocs": `FROM REG/shell:1
RUN <<EOF
echo one > /one
echo two > /two
EOF
RUN <<EOF
#!/bin/busybox ash
echo "$0" > /interpreter
EOF
RUN cat > /made <<EOF && echo more >> /made
text
EOF
COPY <<EOF /etc/motd
hello
EOF
BASE none
`,
	"no shell": `FROM scratch
COPY data .
RUN rm -r gone replaced && mkdir replaced && echo new > replaced/in && mv moved there && chown 7:8 there && chmod 640 kept
RUN rm -r dir && echo file > dir; pwd > where; echo $HOME $(hostname) $(id -u) $(env | grep -c INSTALL_) >> where; echo x > /tmp/forgotten
RUN true
WORKDIR /deep/er
RUN pwd > here; mkdir -m 777 /rootfs/open
USER nobody
RUN id -u > /rootfs/open/who; echo $HOME >> /rootfs/open/who
USER root
RUN --mount=type=bind,target=/in --mount=type=tmpfs,target=/rootfs/scratch cp /in/data/kept copied; echo x > /rootfs/scratch/y
RUN <<EOF
#!/bin/sh -e
echo "$0" > interpreter
EOF
BASE none
`,
	"mounts": `FROM REG/shell:1 AS source
RUN mkdir /out; echo built > /out/f
FROM REG/shell:1
RUN --mount=type=bind,from=source,source=/out,target=/in cat /in/f > /a
RUN --mount=type=bind,target=/ctx cat /ctx/data/kept > /b
RUN --mount=type=bind,from=REG/shell:1,source=/etc,target=/p,rw echo x >> /p/passwd; wc -l < /p/passwd > /c
RUN --mount=type=cache,target=/cache,id=engines,uid=5,gid=6,mode=0750 stat -c '%a %u %g' /cache > /d; echo kept > /cache/f
RUN --mount=type=cache,target=/cache,id=engines,uid=5,gid=6,mode=0750 cat /cache/f > /e
RUN --mount=type=tmpfs,target=/t,size=1m head -c 2000000 /dev/zero 2>/dev/null > /t/f || echo full > /f
RUN --mount=type=secret,id=token cat /run/secrets/token | tr a-z A-Z > /g; stat -c '%a %u %g' /run/secrets/token >> /g
RUN --mount=type=secret,id=token,env=TOKEN,target=/s,mode=0444,uid=9 stat -c '%a %u' /s > /h; echo $TOKEN | wc -c >> /h
RUN --mount=type=secret,id=token,env=ONLY echo $ONLY | wc -c > /k; ls /run/secrets 2>/dev/null >> /k || echo no file >> /k
RUN --mount=type=secret,id=none ls /run/secrets 2>/dev/null > /i || echo none > /i
RUN --network=none grep -c : /proc/net/dev > /j
BASE none
`,
	"web": `FROM REG/shell:1 AS tools
RUN curl -sf https://files.example.com/some/file > /got; env | grep -e SSL -e CURL | sort >> /got
FROM scratch
COPY --from=tools /got .
RUN curl -sf https://files.example.com/other | sh -
BASE none
`,
	"platforms": "FROM scratch\nARG TARGETARCH\nCOPY data .\nCOPY <<EOF arch\n$TARGETARCH\nEOF\nENV A=b\nCMD [\"x\"]\nBASE none\n",
}

// TestEnginesBuildTheSame builds Kubefiles on this machine and on a BuildKit
// daemon: the digests are equal, and so is all that they stand for.
func TestEnginesBuildTheSame(t *testing.T) {
	e := newEngines(t)
	server := serveFiles(t, "127.0.0.78:443", map[string]string{
		"files.example.com/some/file": "some file\n", "files.example.com/other": "echo from the web > ${PWD}/web\n",
	})
	flags := map[string][]string{
		"mounts":    {"--secret", "id=token,src=" + filepath.Join(e.context, "token")},
		"web":       server.flags(),
		"platforms": {"--platform", "linux/amd64,linux/arm64"},
	}
	for name, text := range alike {
		t.Run(name, func(t *testing.T) {
			kubefile := e.kubefile(t, text)
			here := e.build(t, "local", kubefile, flags[name]...)
			there := e.build(t, "buildkit", kubefile, flags[name]...)
			if here != there {
				t.Errorf("here %s, on the daemon %s", here, there)
				e.compare(t, here, there)
			}
		})
	}
	t.Run("history", func(t *testing.T) {
		kubefile := e.kubefile(t, "FROM scratch\nRUN echo x > x\nBASE none\n")
		digest := e.build(t, "buildkit", kubefile)
		if !strings.Contains(e.configOf(t, "buildkit", digest), `"comment":"made with the tools of the builder's machine"`) {
			t.Errorf("nothing says whose tools were used: %s", e.configOf(t, "buildkit", digest))
		}
		e.sealrt(t, "local", "build", "-q", "-f", kubefile, e.context) // with the machine's own tools
	})
	t.Run("fresh", e.testNoCacheRunsAgain)
	t.Run("cache", e.testCacheTravels)
	t.Run("progress", e.testProgress)
	t.Run("failures", e.testFailures)
	t.Run("stops", e.testStops)
	t.Run("tls", e.testOverTLS)
}

// compare says in what two images differ.
func (e *engines) compare(t *testing.T, here, there string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(e.configOf(t, "local", here), ","), strings.Split(e.configOf(t, "buildkit", there), ",")); diff != "" {
		t.Errorf("configurations: %s", diff)
	}
	var lists [2][]string
	for i, store := range []string{"local", "buildkit"} {
		tree := filepath.Join(t.TempDir(), "tree")
		e.sealrt(t, store, "unpack", "built:1", tree)
		lists[i] = listing(t, tree)
		for _, l := range e.layersOf(t, store) {
			t.Logf("%s: %v", store, l)
		}
	}
	if diff := cmp.Diff(lists[0], lists[1]); diff != "" {
		t.Errorf("trees: %s", diff)
	}
}

func (e *engines) layersOf(t *testing.T, store string) []layerSize {
	t.Helper()
	return inspected(t, e.sealrt(t, store, "inspect", "-o", "json", "built:1")).Layers
}

// configOf returns the configuration of an image, or its index.
func (e *engines) configOf(t *testing.T, store, digest string) string {
	t.Helper()
	blob := func(digest string) []byte {
		data, err := os.ReadFile(filepath.Join(e.dir, store, "blobs", strings.Replace(digest, ":", "/", 1)))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var m struct{ Config struct{ Digest string } }
	data := blob(digest)
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	if m.Config.Digest == "" {
		return string(data)
	}
	return string(blob(m.Config.Digest))
}

// listing lists a directory: type, mode, size, time, owner, path and link of
// everything in it, but for directories below it called as skipped.
func listing(t *testing.T, dir string, skipped ...string) []string {
	t.Helper()
	args := []string{dir}
	for _, s := range skipped {
		args = append(args, "-path", s, "-prune", "-o")
	}
	args = append(args, "-printf", `%y %m %s %T@ %U:%G %P %l\n`)
	out, err := exec.Command("find", args...).Output()
	if err != nil {
		t.Fatalf("find %s: %v", dir, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(lines)
	return lines
}

func (e *engines) testNoCacheRunsAgain(t *testing.T) {
	kubefile := e.kubefile(t, "FROM REG/shell:1\nRUN cat /proc/sys/kernel/random/uuid > /id\nBASE none\n")
	for _, engine := range []string{"local", "buildkit"} {
		first := e.build(t, engine, kubefile)
		if again := e.build(t, engine, kubefile); again != first {
			t.Errorf("%s: the command ran again: %s, then %s", engine, first, again)
		}
		if fresh := e.build(t, engine, kubefile, "--no-cache"); fresh == first {
			t.Errorf("%s: --no-cache did not run the command", engine)
		}
	}
}

// testCacheTravels has another machine take what a daemon made, and not ask
// its own daemon.
func (e *engines) testCacheTravels(t *testing.T) {
	kubefile := e.kubefile(t, "FROM REG/shell:1\nRUN cat /proc/sys/kernel/random/uuid > /id\nFROM scratch\nRUN echo travels > x\nCOPY --from=0 /id .\nBASE none\n")
	digest := e.build(t, "buildkit", kubefile, "--cache-to", e.registry+"/cache:1")
	args := append([]string{"build", "-f", kubefile, e.context, "--progress=json", "--cache-from", e.registry + "/cache:1"}, e.engine("buildkit")...)
	out, story, err := e.run("elsewhere", args...)
	if err != nil || strings.TrimSpace(out) != digest {
		t.Errorf("elsewhere: %q, %v, want %s", out, err, digest)
	}
	ran := 0
	for line := range strings.Lines(story) {
		var n struct {
			State, Name string
			Cached      bool
		}
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if n.State == "done" && strings.Contains(n.Name, "RUN") {
			if ran++; !n.Cached {
				t.Errorf("%s was not in the cache", n.Name)
			}
		}
	}
	if ran != 2 {
		t.Errorf("%d commands were done, want 2:\n%s", ran, story)
	}
}

// run runs the program with a store, and returns what it says on stdout and on
// stderr.
func (e *engines) run(store string, args ...string) (out, story string, err error) {
	var said strings.Builder
	cmd := exec.Command(e.program, append(args, "--root", filepath.Join(e.dir, store))...)
	cmd.Stderr = &said
	stdout, err := cmd.Output()
	return string(stdout), said.String(), err
}

// testOverTLS builds on a daemon as a build farm has it: at a TCP address that
// wants certificates.
func (e *engines) testOverTLS(t *testing.T) {
	certs, address := buildkitd.NewCertificates(t), buildkitd.FreeAddress(t)
	pem := func(name string) string { return filepath.Join(certs, name+".pem") }
	buildkitd.Start(t, "tcp://"+address, "--tlscacert", pem("ca"), "--tlscert", pem("cert"), "--tlskey", pem("key"))
	kubefile := e.kubefile(t, "FROM REG/shell:1\nRUN echo x > /x\nBASE none\n")
	args := []string{"build", "-q", "-f", kubefile, e.context, "--builder", "buildkit://tcp://" + address}
	for name, flags := range map[string][]string{
		"in the clear":      nil,
		"unknown to it":     {"--builder-ca", pem("ca")},
		"unknown authority": {"--builder-ca", filepath.Join(buildkitd.NewCertificates(t), "ca.pem"), "--builder-cert", pem("cert"), "--builder-key", pem("key")},
	} {
		if _, story, err := e.run("far", append(args, flags...)...); err == nil || !strings.Contains(story, "BuildKit daemon at tcp://"+address) {
			t.Errorf("%s: %v: %s", name, err, story)
		} else {
			t.Logf("%s: %s", name, story)
		}
	}
	out, story, err := e.run("far", append(args, "--builder-ca", pem("ca"), "--builder-cert", pem("cert"), "--builder-key", pem("key"))...)
	if here := e.build(t, "local", kubefile); err != nil || strings.TrimSpace(out) != here {
		t.Errorf("far away %q, %v, %s; here %s", out, err, story, here)
	}
}
