package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/archive"
	"github.com/sealrt/sealrt/runtime/host"
)

func (Helper) apply(ctx context.Context, t *target) error {
	platform, err := HostPlatform(ctx, t.Host)
	if err != nil {
		return err
	}
	exe, err := t.engine.Helper(platform.OS, platform.Architecture)
	if err != nil {
		return err
	}
	defer exe.Close()
	for _, argv := range [][]string{{"mkdir", "-p", path.Dir(HelperPath)}, {"chmod", "0755", Home}} {
		if err := t.Run(ctx, host.Command{Argv: argv}); err != nil {
			return err
		}
	}
	return host.Put(ctx, t.Host, HelperPath, 0o755, &counter{r: exe, n: &t.sent})
}

// HostPlatform asks the host what it is, in OCI's words.
func HostPlatform(ctx context.Context, h host.Host) (v1.Platform, error) {
	out, err := host.Output(ctx, h, "uname", "-sm")
	if err != nil {
		return v1.Platform{}, err
	}
	sys, machine, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	arch, ok := map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64", "s390x": "s390x", "ppc64le": "ppc64le"}[machine]
	if !ok || sys != "Linux" {
		return v1.Platform{}, fmt.Errorf("the host is %s on %s: sealrt runs clusters on Linux hosts (amd64, arm64, arm, riscv64, s390x, ppc64le)", sys, machine)
	}
	return v1.Platform{OS: "linux", Architecture: arch}, nil
}

func (a Load) apply(ctx context.Context, t *target) error {
	ref, err := artifact.ParseReference(a.Ref)
	if err != nil {
		return err
	}
	have, err := t.inventory(ctx)
	if err != nil {
		return err
	}
	digest, err := v1.NewHash(a.Digest)
	if err != nil {
		return fmt.Errorf("image %s: %w", a.Ref, err)
	}
	if !have[digest] {
		if err := t.send(ctx, ref.WithDigest(digest), have); err != nil {
			return err
		}
	}
	there, err := t.exists(ctx, a.Rootfs)
	if err != nil || there {
		return err
	}
	// the tree gets its name when all of it is on the disk: its name is what
	// tells that it is whole. What an attempt before left is in fresh too.
	fresh := a.Rootfs + ".new"
	tree := path.Join(fresh, "tree")
	for _, c := range []host.Command{
		{Argv: []string{"rm", "-rf", fresh}},
		{Argv: []string{"mkdir", "-p", fresh}},
		{Argv: []string{HelperPath, "unpack", "--root", storeDir, "-q", ref.WithDigest(digest).String(), tree}},
		{Argv: []string{"sync", "-f", tree}},
		{Argv: []string{"mv", "-T", tree, a.Rootfs}},
		{Argv: []string{"rmdir", fresh}},
	} {
		if err := t.work(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// inventory asks the host which blobs it has.
func (t *target) inventory(ctx context.Context) (map[v1.Hash]bool, error) {
	out, err := host.Output(ctx, t.Host, HelperPath, "inventory", "--root", storeDir)
	if err != nil {
		return nil, fmt.Errorf("ask for the inventory: %w", err)
	}
	have := map[v1.Hash]bool{}
	for line := range strings.Lines(string(out)) {
		h, err := v1.NewHash(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("read the inventory: %w", err)
		}
		have[h] = true
	}
	return have, nil
}

// send streams an archive of what the host lacks into the host's store.
func (t *target) send(ctx context.Context, ref artifact.Reference, have map[v1.Hash]bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		sink := archive.NewSink(w)
		_, err := artifact.Copy(ctx, sink, ref, t.engine.Images, ref, artifact.CopyOptions{
			Jobs: 1, // an archive is written in one order, always the same
			Have: func(h v1.Hash) bool { return have[h] },
		})
		if err == nil {
			err = sink.Close()
		}
		w.CloseWithError(err)
		done <- err
	}()
	err := t.work(ctx, host.Command{Argv: []string{HelperPath, "load", "--root", storeDir, "-q", "-"}, Stdin: &counter{r: r, n: &t.sent}})
	r.CloseWithError(errors.New("the host stopped reading"))
	cancel(nil)
	if sent := <-done; sent != nil && err == nil {
		err = sent
	}
	return err
}

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n *int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}
