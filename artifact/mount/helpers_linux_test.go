package mount

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// TestMain gives the tests a mount namespace of their own. Others on this machine make mount namespaces too, of which each
// has a copy of all mounts, and what is mounted anywhere is in use.
func TestMain(m *testing.M) {
	if os.Getenv("MOUNT_TEST_PRIVATE") != "" || canMount() != nil {
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), "MOUNT_TEST_PRIVATE=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // whose end is the signal
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func mustRef(t testing.TB, s string) artifact.Reference {
	t.Helper()
	ref, err := artifact.ParseReference(s)
	check(t, err)
	return ref
}

// needMount skips a test where overlays cannot be mounted; e2e/mount_test.go shows the same where that cannot happen.
func needMount(t testing.TB) {
	t.Helper()
	if err := canMount(); err != nil {
		t.Skipf("no overlays here: %v", err)
	}
	dir := t.TempDir()
	o := overlay{source: "sealrt-test", lowers: []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}}
	for _, d := range append(o.lowers, filepath.Join(dir, "m")) {
		check(t, os.Mkdir(d, 0o755))
	}
	if err := o.mount(filepath.Join(dir, "m")); err != nil {
		t.Skipf("no overlays here: %v", err)
	}
	check(t, unmount(filepath.Join(dir, "m")))
}

// of is the time of all entries; layers set others on purpose.
var of = time.Unix(1_500_000_000, 0)

func dir(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, ModTime: of}
}

func file(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(name)), ModTime: of}
}

func gone(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: of}
}

func link(kind byte, name, target string) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o777, ModTime: of}
}

// capable gives a file cap_net_raw+ep, in the form of version 2 (struct vfs_cap_data of linux/capability.h).
func capable(h tar.Header) tar.Header {
	h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20" + strings.Repeat("\x00", 14)}
	return h
}

func owned(h tar.Header, uid, gid int) tar.Header {
	h.Uid, h.Gid = uid, gid
	return h
}

func at(h tar.Header, seconds int64) tar.Header {
	h.ModTime = time.Unix(seconds, 0)
	return h
}

// addLayer puts a layer into the store. Files hold their names.
func addLayer(t testing.TB, s *store.Store, headers ...tar.Header) v1.Descriptor {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		check(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write([]byte(h.Name))
			check(t, err)
		}
	}
	check(t, w.Close())
	return addBlob(t, s, types.OCIUncompressedLayer, b.Bytes())
}

func addBlob(t testing.TB, s *store.Store, mt types.MediaType, b []byte) v1.Descriptor {
	t.Helper()
	w, err := s.NewBlob(t.Context())
	check(t, err)
	defer w.Close()
	_, err = w.Write(b)
	check(t, err)
	h := v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b))}
	check(t, w.Commit(h, int64(len(b))))
	return v1.Descriptor{MediaType: mt, Digest: h, Size: int64(len(b))}
}

// testImage is an image of layers in a store.
type testImage struct {
	ref      artifact.Reference
	digest   v1.Hash
	manifest *v1.Manifest
}

func addImage(t testing.TB, s *store.Store, name string, layers ...[]tar.Header) testImage {
	t.Helper()
	m := &v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	h := sha256.New()
	for _, headers := range layers {
		m.Layers = append(m.Layers, addLayer(t, s, headers...))
		fmt.Fprintln(h, m.Layers[len(m.Layers)-1].Digest)
	}
	return testImage{mustRef(t, name), v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h.Sum(nil))}, m}
}

// mountImage mounts an image until the test ends.
func mountImage(t testing.TB, s *store.Store, i testImage) string {
	t.Helper()
	m := Of(s)
	tree, err := m.Mount(t.Context(), i.ref, i.digest, i.manifest)
	check(t, err)
	t.Cleanup(func() {
		if err := unmount(tree); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	return tree
}

func unpackImage(t testing.TB, s *store.Store, i testImage) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	check(t, artifact.Unpack(t.Context(), s, i.ref, i.manifest, dir, artifact.UnpackOptions{}))
	return dir
}

// snapshot describes all that is in a tree, a line each. Of symbolic links no tool sets the times; a directory that is
// changed without being stated has that of the change.
func snapshot(t testing.TB, top string, began time.Time) map[string]string {
	t.Helper()
	got := map[string]string{}
	check(t, filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %v %s", info.ModTime().UnixNano(), b)
			value := make([]byte, 64)
			if n, err := unix.Getxattr(path, "security.capability", value); err == nil {
				line += fmt.Sprintf(" %x", value[:n])
			}
		case info.ModTime().Before(began):
			line += fmt.Sprint(" ", info.ModTime().UnixNano())
		}
		got[strings.TrimPrefix(path, top)] = line
		return nil
	}))
	return got
}
