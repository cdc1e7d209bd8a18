package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// local is the embedded Runner: commands run in a sandbox on this machine.
type local struct {
	store *store.Store
	trees *trees
}

var _ Runner = (*local)(nil)

// localPlatform says why commands for p cannot run on machine, if so.
func localPlatform(machine, p v1.Platform) error {
	if !onLinux {
		return sandbox.ErrUnsupported
	}
	if artifact.MatchPlatform(machine, v1.Platform{OS: p.OS, Architecture: p.Architecture}) || binfmtFor(binfmtDir, p) {
		return nil
	}
	return fmt.Errorf("RUN for %s is not possible on %s: register an emulator for it (binfmt_misc, with flag F), "+
		"run in a stage FROM --platform=$BUILDPLATFORM and COPY --from it, or build with --builder", p, machine)
}

// Identity implements Runner. A command in the build sandbox sees the tools of this machine; which user runs it makes a
// difference to what it can do.
func (l *local) Identity(_ context.Context, c Command) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%t\n", os.Geteuid() == 0)
	if !c.HasShell {
		if err := hashFiles(h, "/etc/os-release", "/var/lib/dpkg/status", "/lib/apk/db/installed", "/var/lib/rpm/rpmdb.sqlite"); err != nil {
			return "", fmt.Errorf("look at this machine's packages: %w", err)
		}
	}
	return "local " + hex.EncodeToString(h.Sum(nil)), nil
}

// Run implements Runner.
func (l *local) Run(ctx context.Context, c Command) (_ *Changes, err error) {
	dir, remove, err := l.trees.temporary()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			remove()
		}
	}()
	s := sandbox.Config{
		Argv: c.Argv, Script: c.Script, Env: withSecrets(c.Env, c.Mounts), Dir: c.Dir, User: c.User, Network: c.Network, AddHosts: c.AddHosts, CAFile: c.CAFile,
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Stdout: c.Log, Stderr: c.Log,
	}
	for _, d := range []string{s.Upper, s.Work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	if s.Lowers, err = l.lowers(ctx, c.Layers); err != nil {
		return nil, err
	}
	mounts, release, err := l.mounts(ctx, c.Mounts)
	if err != nil {
		return nil, err
	}
	s.Mounts = mounts
	err = errors.Join(sandbox.Run(ctx, s), release())
	if err != nil {
		return nil, l.blameSpace(err)
	}
	changes := &Changes{Close: func() error { remove(); return nil }}
	seen := sandbox.NewView()
	for e, err := range layer.FromOverlay(s.Upper) {
		if err != nil {
			return nil, err
		}
		if !isWhiteout(e.Name) {
			err = l.look(&e, filepath.Join(s.Upper, e.Name), seen, c.Log)
		} else if e.Mode != 0 { // a file of that name
			err = fmt.Errorf("%s: names that start with %s are reserved for what layers delete: rename it", e.Name, layer.WhiteoutPrefix)
		}
		if err != nil {
			return nil, err
		}
		changes.Entries = append(changes.Entries, e)
	}
	return changes, nil
}

// look gives e the owner and mode that the command saw.
func (*local) look(e *layer.Entry, file string, seen sandbox.View, log io.Writer) (err error) {
	if e.Mode.IsRegular() && e.Mode&0o111 != 0 && hasCapabilities(file) {
		fmt.Fprintf(log, "sealrt: the capabilities of %s are left out, as layers of files hold none: set them where the program runs\n", e.Name)
	}
	e.UID, e.GID = seen.Owner(e.UID, e.GID)
	e.Mode, err = seen.Mode(file, e.Mode)
	return err
}

// roomLeft is what is free, in bytes, where a command did not fail for want of space.
const roomLeft = 1 << 20

// blameSpace adds to the failure of a command that the disk is full, which is what it writes to; what it left there is
// still to be removed.
func (l *local) blameSpace(err error) error {
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) {
		return whenFull(err)
	}
	if space := l.store.CheckSpace(roomLeft); space != nil {
		return fmt.Errorf("%w, and the disk is full: %w", err, space)
	}
	return err
}

// lowers returns the directories of unpacked layers, top first.
func (l *local) lowers(ctx context.Context, layers []v1.Descriptor) ([]string, error) {
	var lowers []string
	for _, d := range slices.Backward(layers) {
		tree, err := l.trees.extract(ctx, d)
		if err != nil {
			return nil, fmt.Errorf("unpack layer %s: %w", d.Digest, err)
		}
		lowers = append(lowers, tree)
	}
	return lowers, nil
}

// mounts makes what is mounted; release lets go of it.
func (l *local) mounts(ctx context.Context, mounts []Mount) (list []sandbox.Mount, release func() error, err error) {
	var locks []*os.File
	release = func() error {
		var err error
		for _, f := range locks {
			err = errors.Join(err, f.Close())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	for _, m := range mounts {
		if m.Type == MountSecret && (m.Secret == nil || m.Target == "") {
			continue // one that nobody gave, or that is a variable only
		}
		sm := sandbox.Mount{Target: m.Target}
		switch m.Type {
		case MountTmpfs:
			sm.Tmpfs, sm.Size = true, m.Size
		case MountSecret:
			if m.Target == "" {
				continue // a variable alone
			}
			sm.Content, sm.Mode, sm.UID, sm.GID = m.Secret, m.Mode, m.UID, m.GID
		case MountBind:
			sm.Source, sm.ReadOnly = m.Source, m.ReadOnly
			sm.Lowers, err = l.lowers(ctx, m.Layers)
		case MountCache:
			var lock *os.File
			if sm.Source, lock, err = l.cacheDir(ctx, m); lock != nil {
				locks = append(locks, lock)
			}
			sm.ReadOnly = m.ReadOnly
		}
		if err != nil {
			return nil, release, err
		}
		list = append(list, sm)
	}
	return list, release, nil
}

// withSecrets adds the secrets that are variables to an environment.
func withSecrets(env []string, mounts []Mount) []string {
	for _, m := range mounts {
		if m.Type == MountSecret && m.Env != "" && m.Secret != nil {
			env = setVariable(env, m.Env, string(m.Secret))
		}
	}
	return env
}

// cacheDir returns the directory of a cache mount, locked as its sharing asks for.
func (l *local) cacheDir(ctx context.Context, m Mount) (string, *os.File, error) {
	sum := sha256.Sum256([]byte(m.ID))
	base := filepath.Join(l.store.Root(), cacheMounts, hex.EncodeToString(sum[:16]))
	for n := 0; ; n++ {
		dir := base
		if n > 0 {
			dir = fmt.Sprintf("%s-%d", base, n)
		}
		if err := l.makeCacheDir(ctx, dir, m); err != nil {
			return "", nil, err
		}
		f, err := os.Open(dir)
		if err != nil {
			return "", nil, err
		}
		how := syscall.LOCK_SH
		if m.Sharing == sharingLocked || m.Sharing == sharingPrivate {
			how = syscall.LOCK_EX
		}
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return dir, f, nil
		case m.Sharing == sharingPrivate:
			f.Close()
			continue
		}
		if err := waitLock(ctx, f, how); err != nil {
			f.Close()
			return "", nil, fmt.Errorf("wait for the cache %s: %w", m.ID, err)
		}
		return dir, f, nil
	}
}

// makeCacheDir makes the directory when there is none, filled with what the mount starts from.
func (l *local) makeCacheDir(ctx context.Context, dir string, m Mount) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	tmp, remove, err := l.trees.temporary()
	if err != nil {
		return err
	}
	defer remove()
	fresh := filepath.Join(tmp, "cache")
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return err
	}
	for _, d := range m.Layers {
		if err := l.trees.unpack(ctx, fresh, d); err != nil {
			return fmt.Errorf("unpack layer %s: %w", d.Digest, err)
		}
	}
	fresh = filepath.Join(fresh, filepath.FromSlash(m.Source))
	if err := os.Chmod(fresh, m.Mode); err != nil {
		return err
	}
	if m.UID != 0 || m.GID != 0 {
		if err := os.Lchown(fresh, m.UID, m.GID); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}
