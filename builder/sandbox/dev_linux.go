package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mountDev makes a minimal /dev in root, and puts the certificate bundle there when there is a caFile.
func mountDev(root, caFile string) error {
	dev := filepath.Join(root, "dev")
	if err := mountTmpfs(dev, "mode=0755,size=8m", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		file := filepath.Join(dev, name)
		if err := os.WriteFile(file, nil, 0o666); err != nil {
			return err
		}
		if err := bind(filepath.Join("/dev", name), file); err != nil {
			return err
		}
	}
	links := [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}}
	for _, l := range links {
		if err := os.Symlink(l[0], filepath.Join(dev, l[1])); err != nil {
			return err
		}
	}
	shm := filepath.Join(dev, "shm")
	if err := os.Mkdir(shm, 0o755); err != nil {
		return err
	}
	if err := mountTmpfs(shm, "mode=1777", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
		return err
	}
	if caFile == "" {
		return nil
	}
	bundle, err := Certificates(caFile, 0)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, CABundle), bundle, 0o644)
}

// mountProc mounts the /proc of this pid namespace in root. What would change or show the builder's kernel is
// read-only or covered, as in any container.
func mountProc(root string) error {
	proc := filepath.Join(root, "proc")
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, name := range []string{"sys", "sysrq-trigger", "irq", "bus", "fs", "dynamic_debug", "mtrr"} {
		file := filepath.Join(proc, name)
		if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := bindReadOnly(file, file); err != nil {
			return err
		}
	}
	for _, name := range []string{"kcore", "keys", "kmsg", "timer_list", "latency_stats", "sched_debug", "acpi", "scsi", "asound", "interrupts", "kpagecgroup", "kpagecount", "kpageflags", "vmallocinfo", "slabinfo"} {
		if err := cover(filepath.Join(proc, name), filepath.Join(root, "dev/null")); err != nil {
			return err
		}
	}
	return nil
}

// cover hides a file or directory; nothing to hide is fine.
func cover(name, null string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return mountTmpfs(name, "mode=0555,size=4k", unix.MS_RDONLY)
	}
	return bind(null, name)
}
