//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// k3sInstaller does what the script at get.k3s.io does, in the same places: it
// downloads a release and its digest, installs the program, links and a unit,
// and enables that. sudo and systemctl would reach the machine itself.
const k3sInstaller = `set -e
[ "$(id -u)" = 0 ] || SUDO=sudo
BIN_DIR=${INSTALL_K3S_BIN_DIR:-/usr/local/bin}
SYSTEMD_DIR=${INSTALL_K3S_SYSTEMD_DIR:-/etc/systemd/system}
download() {
  curl -o "$1" -sfL "https://github.com/k3s-io/k3s/releases/download/$INSTALL_K3S_VERSION/$2" || { echo '[ERROR]  Download failed' >&2; exit 1; }
}
TMP_DIR=$(mktemp -d -t k3s-install.XXXXXXXXXX)
trap 'rm -rf "$TMP_DIR"' EXIT
download "$TMP_DIR/sums" sha256sum.txt
download "$TMP_DIR/k3s" k3s
(cd "$TMP_DIR" && sha256sum -c sums)
chmod 755 "$TMP_DIR/k3s"
$SUDO chown root:root "$TMP_DIR/k3s"
$SUDO mv -f "$TMP_DIR/k3s" "$BIN_DIR/k3s"
for cmd in kubectl crictl ctr; do $SUDO ln -sf k3s "$BIN_DIR/$cmd"; done
$SUDO rm -f /etc/systemd/system/k3s.service /etc/hostname
$SUDO touch "$SYSTEMD_DIR/k3s.service.env"
$SUDO chmod 0600 "$SYSTEMD_DIR/k3s.service.env"
printf '[Unit]\nDescription=k3s\n' | $SUDO tee "$SYSTEMD_DIR/k3s.service" >/dev/null
[ "$INSTALL_K3S_SKIP_ENABLE" = true ] && exit
$SUDO systemctl enable --now k3s
`

// sandboxUser is somebody who builds, in a place of their own.
type sandboxUser struct {
	*bench
	as  []string // what makes a command one of this user
	dir string
}

// newSandboxUser makes a place for a user of this id.
func newSandboxUser(t *testing.T, w *bench, uid int) *sandboxUser {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "sealrt-sandbox-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	u := &sandboxUser{bench: w, dir: dir}
	if uid != 0 {
		id := fmt.Sprint(uid)
		u.as = []string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups"} // of util-linux, which every Debian has
	}
	program, err := os.Open(w.program)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	to, err := os.OpenFile(filepath.Join(dir, "sealrt"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, program); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	return u
}

// command returns a command line of the program, and what it will have said on
// stderr.
func (u *sandboxUser) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	argv := append(append(u.as, filepath.Join(u.dir, "sealrt")), args...)
	cmd := exec.Command(argv[0], append(argv[1:], "--root", filepath.Join(u.dir, "store"))...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + u.dir}
	cmd.Dir = u.dir
	story := &bytes.Buffer{}
	cmd.Stderr = story
	return cmd, story
}

// try runs the program, and returns what it says on stdout and on stderr.
func (u *sandboxUser) try(args ...string) (out, story string, err error) {
	cmd, said := u.command(args...)
	stdout, err := cmd.Output()
	return string(stdout), said.String(), err
}

// write makes a context, which every user may read.
func (u *sandboxUser) write(t *testing.T, kubefile string, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp(u.dir, "context-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "Kubefile"), kubefile)
	for name, content := range files {
		writeFile(t, filepath.Join(dir, name), content)
	}
	return dir
}

// TestSandbox builds with the machine's own tools, as root and without root.
func TestSandbox(t *testing.T) {
	w := newBench(t)
	w.containerImage(t, w.registry+"/pause:3.9", 1<<20)
	k3s := "k3s v1.25.3"
	release := "github.com/k3s-io/k3s/releases/download/v1.25.3/"
	server := serveFiles(t, "127.0.0.79:443", map[string]string{
		"get.k3s.io/": k3sInstaller, release + "k3s": k3s, release + "sha256sum.txt": fmt.Sprintf("%x  k3s\n", sha256.Sum256([]byte(k3s))),
	})
	digests := map[string]string{} // of what both build
	for name, uid := range map[string]int{"as root": 0, "without root": 65534} {
		t.Run(name, func(t *testing.T) {
			u := newSandboxUser(t, w, uid)
			if _, story, err := u.try("build", u.write(t, "FROM scratch\nRUN true\nBASE none\n", nil)); err != nil {
				if uid != 0 && strings.Contains(story, "this machine refuses the build sandbox") {
					t.Skipf("THIS KERNEL FORBIDS THE SANDBOX WITHOUT ROOT, NOTHING WAS TESTED: %s", story)
				}
				t.Fatalf("%v: %s", err, story)
			}
			t.Run("designs", func(t *testing.T) { u.testDesigns(t, server, digests) })
			t.Run("changes", func(t *testing.T) { u.testChanges(t, digests) })
			t.Run("secrets of the machine", u.testSecretsOfTheMachine)
			t.Run("failed downloads", func(t *testing.T) { u.testFailedDownloads(t, server) })
			t.Run("stops", u.testStops)
		})
	}
}

// testDesigns builds the Kubefiles of the k3s design as they are written. They
// change the image, and nothing of the machine, and give the same image to
// everybody.
func (u *sandboxUser) testDesigns(t *testing.T, server web, digests map[string]string) {
	machine := func() []string {
		return append(append(listing(t, "/usr/local"), listing(t, "/etc")...), listing(t, "/var/lib", "/var/lib/sealrt")...)
	}
	list := u.registry + "/pause:3.9\n"
	for _, d := range []struct {
		name, text string
		files      map[string]string
		args, want []string // build; the tree
	}{
		{"k0s", "COPY rootfs/* .\nCOPY ${ARCH} .\nCOPY ImageList manifests\nBASE rootfs cache\n",
			map[string]string{"ImageList": list, "rootfs/bin/k0s": "k0s", "rootfs/etc/k0s.yaml": "a: b\n", "amd64/lib/x": "x", "arm64/lib/x": "x"}, nil,
			[]string{"Metadata", "bin/k0s", "etc/k0s.yaml", "lib/x", "manifests/ImageList"}},
		{"k3s online", "FROM scratch\nCOPY imageList manifests\nRUN curl -sfL https://get.k3s.io | INSTALL_K3S_VERSION=v1.25.3 sh -\nCOPY . .\n",
			map[string]string{"imageList": list}, server.flags(),
			[]string{"Kubefile", "Metadata", "bin/crictl", "bin/ctr", "bin/k3s", "bin/kubectl", "etc/k3s.service", "etc/k3s.service.env", "imageList", "manifests/imageList"}},
		{"k3s offline", "FROM scratch\nCOPY imageList manifests\nCOPY . .\n",
			map[string]string{"imageList": list, "bin/k3s": "k3s", "k3s-install.sh": "#!/bin/sh\n"}, nil,
			[]string{"Kubefile", "Metadata", "bin/k3s", "imageList", "k3s-install.sh", "manifests/imageList"}},
	} {
		before, start := machine(), time.Now()
		args := append([]string{"build", "-t", "design:1", u.write(t, d.text, d.files)}, d.args...)
		digest, story, err := u.try(args...)
		if err != nil {
			t.Errorf("%s: %v: %s", d.name, err, story)
			continue
		}
		if other, ok := digests[d.name]; ok && other != digest {
			t.Errorf("%s: %s, and %s for another user", d.name, digest, other)
		}
		digests[d.name] = digest
		t.Logf("%s: %.1f s", d.name, time.Since(start).Seconds())
		if diff := cmp.Diff(before, machine()); diff != "" {
			t.Errorf("%s changed the machine: %s", d.name, diff)
		}
		tree := filepath.Join(u.dir, strings.ReplaceAll(d.name, " ", "-"))
		if _, story, err := u.try("unpack", "design:1", tree); err != nil {
			t.Fatalf("%s: %v: %s", d.name, err, story)
		}
		if diff := cmp.Diff(d.want, namesIn(t, tree)); diff != "" {
			t.Errorf("%s: tree: %s", d.name, diff)
		}
	}
	for name, want := range map[string]string{"bin/k3s": "k3s v1.25.3", "etc/k3s.service": "[Unit]\nDescription=k3s\n"} {
		if content, err := os.ReadFile(filepath.Join(u.dir, "k3s-online", name)); err != nil || string(content) != want {
			t.Errorf("%s: %q, %v", name, content, err)
		}
	}
}

// testChanges makes and unmakes files of all kinds: the image is the same for
// everybody.
func (u *sandboxUser) testChanges(t *testing.T, digests map[string]string) {
	context := u.write(t, `FROM scratch
COPY tree .
RUN rm a dir/b; rm -r gone; rm -r again && mkdir again && echo new > again/new; rm replaced && mkdir replaced && echo x > replaced/in
RUN chmod 000 closed; mkdir -m 311 drop; echo x > drop/x; chmod 4711 suid; chmod 1777 dir; ln -s a link; ln kept hard; mv moved there; : > empty
RUN chmod 600 closed; rm -r drop replaced; echo more >> kept
BASE none
`, map[string]string{
		"tree/a": "a", "tree/dir/b": "b", "tree/dir/c": "c", "tree/gone/d": "d", "tree/again/old": "o", "tree/replaced": "r",
		"tree/closed": "c", "tree/suid": "s", "tree/kept": "k", "tree/moved": "m",
	})
	digest, story, err := u.try("build", context)
	if err != nil {
		t.Fatalf("%v: %s", err, story)
	}
	if other, ok := digests["changes"]; ok && other != digest {
		t.Errorf("%s, and %s for another user", digest, other)
	}
	digests["changes"] = digest
}

// testSecretsOfTheMachine lays out secrets that everybody could read, and looks
// for them from a command.
func (u *sandboxUser) testSecretsOfTheMachine(t *testing.T) {
	canary := fmt.Sprintf("sealrt-canary-%d", time.Now().UnixNano())
	hidden := []string{"/root", "/home", "/run", "/var/lib", "/var/tmp", "/tmp", "/dev/shm", "/opt", u.dir}
	var places []string
	for _, dir := range hidden {
		place := filepath.Join(dir, canary)
		if err := os.WriteFile(place, []byte("secret"), 0o644); err != nil {
			t.Logf("no canary there: %v", err)
			continue
		}
		t.Cleanup(func() { os.Remove(place) })
		places = append(places, place)
	}
	if len(places) < 5 {
		t.Fatalf("only %v: this test cannot tell", places)
	}
	context := u.write(t, "FROM scratch\nRUN ! cat "+strings.Join(places, " ")+" /proc/1/root"+places[0]+" | grep secret; ls -d /sys/kernel /run/systemd "+
		filepath.Join(u.dir, "store")+" > seen 2>/dev/null; env | grep -e HOME=/var -e "+canary+" >> seen; true\nBASE none\n", nil)
	if _, story, err := u.try("build", "-t", "canary:1", context); err != nil || strings.Count(story, "No such file") < len(places) {
		t.Errorf("%v: %s", err, story)
	}
	tree := filepath.Join(u.dir, "canary")
	if _, story, err := u.try("unpack", "canary:1", tree); err != nil {
		t.Fatalf("%v: %s", err, story)
	}
	if seen, err := os.ReadFile(filepath.Join(tree, "seen")); err != nil || len(seen) > 0 {
		t.Errorf("the command sees %q, %v", seen, err)
	}
}

// testFailedDownloads has a script come to nothing, and a script that fails.
func (u *sandboxUser) testFailedDownloads(t *testing.T, server web) {
	for name, tt := range map[string]struct {
		run  string
		want []string
	}{
		"the script":  {"curl -sfL https://get.k3s.io/gone | INSTALL_K3S_VERSION=v1.25.3 sh -", []string{"no bin/k3s"}},
		"the release": {"curl -sfL https://get.k3s.io | INSTALL_K3S_VERSION=v9.9.9 sh -", []string{"[ERROR]  Download failed", "exit code 1"}},
	} {
		context := u.write(t, "FROM scratch\nRUN "+tt.run+"\n", nil)
		_, story, err := u.try(append([]string{"build", "-q", context}, server.flags()...)...)
		for _, want := range append(tt.want, filepath.Join(context, "Kubefile")+":2:1: RUN curl -sfL https://get.k3s.io") {
			if err == nil || !strings.Contains(story, want) {
				t.Errorf("%s: %v: said %q, want %q", name, err, story, want)
			}
		}
	}
}

// testStops ends builds while a command and its daemon run. Nothing is left of
// them anywhere on this machine.
func (u *sandboxUser) testStops(t *testing.T) {
	for name, tt := range map[string]struct {
		signal syscall.Signal
		want   string
		args   []string
	}{
		"Ctrl-C":   {syscall.SIGINT, "interrupted; what was finished is kept", nil},
		"SIGTERM":  {syscall.SIGTERM, "interrupted; what was finished is kept", nil},
		"kill -9":  {syscall.SIGKILL, "", nil},
		"time out": {0, "the command took longer than 2s", []string{"--timeout", "2s"}},
	} {
		marker := fmt.Sprintf("86400.%d", time.Now().UnixNano())
		context := u.write(t, "FROM scratch\nRUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/t cd /cache; (setsid sleep "+marker+" >/dev/null 2>&1 &); trap '' INT TERM; sleep "+marker+"\n", nil)
		cmd, story := u.command(append([]string{"build", context}, tt.args...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		waitFor(t, "the command and its daemon", func() bool { return len(processesCalled(t, "sleep "+marker)) == 2 })
		if len(mountsBelow(t, u.dir)) == 0 {
			t.Errorf("%s: no mount is seen while the command runs: this test cannot tell", name)
		}
		if tt.signal != 0 {
			cmd.Process.Signal(tt.signal)
		}
		err := cmd.Wait()
		if err == nil || !strings.Contains(story.String(), tt.want) {
			t.Errorf("%s: %v: said %q, want %q", name, err, story, tt.want)
		}
		if tt.signal == syscall.SIGKILL { // the kernel ends the rest, in its own time
			waitFor(t, "the command's processes to end", func() bool { return len(processesWith(t, marker)) == 0 })
		}
		if left := processesWith(t, marker); len(left) > 0 {
			t.Errorf("%s: processes left: %v", name, left)
		}
		if left := mountsBelow(t, u.dir); len(left) > 0 {
			t.Errorf("%s: mounts left: %v", name, left)
		}
	}
	// what was killed leaves nothing that stands in the way of the next build
	context := u.write(t, "FROM scratch\nRUN --mount=type=cache,target=/cache echo x > /cache/y && cp /cache/y .\nBASE none\n", nil)
	if _, story, err := u.try("build", context); err != nil {
		t.Errorf("the next build: %v: %s", err, story)
	}
}
