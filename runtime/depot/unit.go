package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/mount"
)

// Units is what is needed of a service manager.
type Units interface {
	// Start makes a unit file known, starts the unit now and has it started at
	// every boot.
	Start(ctx context.Context, unit string) error
	// Stop ends a unit, and that it is started at boot.
	Stop(ctx context.Context, unit string) error
}

// UnitDir is where systemd looks for the units of a host's administrator
// (systemd.unit(5)).
const UnitDir = "/etc/systemd/system"

// Systemd is the systemd of this machine.
type Systemd struct{}

// HasSystemd reports whether systemd runs this machine (sd_booted(3)).
func HasSystemd() bool {
	fi, err := os.Lstat("/run/systemd/system")
	return err == nil && fi.IsDir()
}

// Start implements Units.
func (Systemd) Start(ctx context.Context, unit string) error {
	if err := systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	return systemctl(ctx, "enable", "--now", unit)
}

// Stop implements Units.
func (Systemd) Stop(ctx context.Context, unit string) error {
	return systemctl(ctx, "disable", "--now", unit)
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// UnitName is the name of the unit that mounts at a directory (systemd.unit(5),
// "String Escaping for Inclusion in Unit Names").
func UnitName(dir string) string {
	var b strings.Builder
	for i, c := range []byte(strings.Trim(filepath.Clean(dir), "/")) {
		switch {
		case c == '/':
			b.WriteByte('-')
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == ':', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String() + ".mount"
}

// unitText is a unit that mounts a tree. Nothing waits for it: neither the boot
// nor any other unit, and it may fail. LIBMOUNT_FORCE_MOUNT2 is for util-linux
// 2.39, which hands options over one by one to kernels that take no more than
// 255 bytes of each.
func unitText(where, source, options string) string {
	return `# made by sealrt, which removes it
[Unit]
Description=files of a cluster image
DefaultDependencies=no
After=local-fs.target
Conflicts=umount.target
Before=umount.target

[Mount]
What=` + source + `
Where=` + where + `
Type=overlay
Options=` + options + `
Environment=LIBMOUNT_FORCE_MOUNT2=always
LazyUnmount=yes
TimeoutSec=60

[Install]
WantedBy=multi-user.target
`
}

// mount unpacks the layers of an image and has the service manager mount them.
// It returns the source of the mount.
func (d *Depot) mount(ctx context.Context, l Listing) (source string, err error) {
	if d.Units == nil {
		return "", errors.New("no systemd runs here")
	}
	if err := mount.Usable(); err != nil {
		return "", err
	}
	lowers, err := d.mounts().Through(d.change(l)).Lowers(ctx, l.reference(), l.Manifest.Digest, l.tree())
	if err != nil {
		return "", err
	}
	d.reach("unpacked")
	dirs, err := d.link(lowers.Dirs)
	if err != nil {
		return "", err
	}
	options := "ro,nodev,nosuid,lowerdir=" + strings.Join(dirs, ":")
	if len(options) >= os.Getpagesize() { // mount(2): all options fit into one page
		return "", fmt.Errorf("the options of a mount of %d layers are %d bytes: a kernel takes %d", len(dirs), len(options), os.Getpagesize()-1)
	}
	if err := os.MkdirAll(filepath.Join(d.home, rootfsName), 0o755); err != nil {
		return "", err
	}
	where, err := real(d.Rootfs(l.Manifest.Digest))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(where, 0o755); err != nil {
		return "", err
	}
	if err := d.writeUnit(UnitName(where), unitText(where, lowers.Source, options+",nofail")); err != nil {
		return "", err
	}
	d.reach("written")
	if err := d.Units.Start(ctx, UnitName(where)); err != nil {
		return "", err
	}
	if !mounted(where) {
		return "", fmt.Errorf("nothing is mounted at %s after %s was started", where, UnitName(where))
	}
	// systemd does not wait for the disk when it enables a unit
	return lowers.Source, errors.Join(syncFileSystem(filepath.Dir(d.unitPath("x"))), syncFileSystem(filepath.Dir(where)))
}

func (d *Depot) unitPath(unit string) string {
	if d.UnitDir != "" {
		return filepath.Join(d.UnitDir, unit)
	}
	return filepath.Join(UnitDir, unit)
}

// unfinishedUnit is the name of a unit file while it is written. It is one of
// those that a reset sweeps beside the files that it removes.
const unfinishedUnit = ".sealrt-depot1"

func (d *Depot) writeUnit(unit, text string) error {
	tmp := d.unitPath(unfinishedUnit)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer disk.Discard(f)
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	return os.Rename(tmp, d.unitPath(unit))
}

// unmount takes back what mount made of an image, as far as it got, and leaves
// the unpacked layers to be pruned.
func (d *Depot) unmount(ctx context.Context, h v1.Hash) error {
	where, err := real(d.Rootfs(h))
	if err != nil {
		return err
	}
	unit := UnitName(where)
	if _, err := os.Lstat(d.unitPath(unit)); err == nil {
		if d.Units != nil {
			if err := d.Units.Stop(ctx, unit); err != nil {
				d.note("%v", err) // the unmounting tells
			}
		}
		if err := os.Remove(d.unitPath(unit)); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if mounted(where) {
		if err := detach(where); err != nil {
			return fmt.Errorf("unmount %s: %w", where, err)
		}
	}
	return d.mounts().Release(ctx, h)
}
