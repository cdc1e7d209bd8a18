package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// etcNames are the parts of the builder's /etc that tools need: certificates, library search, protocol names.
// Everything else there may name hosts, users or secrets.
func etcNames() []string {
	return []string{
		"ssl", "pki/tls", "pki/ca-trust", "crypto-policies", "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
		"nsswitch.conf", "os-release", "services", "protocols",
	}
}

// writeEtc makes /etc of the build sandbox.
func writeEtc(root, hostLines string) error {
	etc := filepath.Join(root, "etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		return err
	}
	for _, name := range etcNames() {
		if err := copyPublic(filepath.Join("/etc", name), filepath.Join(etc, name)); err != nil {
			return fmt.Errorf("show /etc/%s: %w", name, err)
		}
	}
	for _, name := range []string{"hosts", "resolv.conf"} {
		if err := copyName(filepath.Join(etc, name), name, hostLines); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(etc, "passwd"), []byte(passwd), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(etc, "group"), []byte(group), 0o644)
}

// copyPublic copies the file, link or directory from that everybody may read. What only some may read (private
// keys), and what is not there, is left out.
func copyPublic(from, to string) error {
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode&fs.ModeSymlink != 0:
		return copyLink(from, to)
	case mode.IsDir() && mode.Perm()&0o005 == 0o005:
		return copyPublicDir(from, to)
	case mode.IsRegular() && mode.Perm()&0o004 != 0:
		return copyFile(from, to)
	}
	return nil
}

func copyPublicDir(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyPublic(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// copyName copies the content of the builder's /etc/hosts or /etc/resolv.conf, wherever a link there leads, to file.
func copyName(file, name, hostLines string) error {
	data, err := os.ReadFile(filepath.Join("/etc", name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if name == "hosts" {
		if len(data) > 0 && data[len(data)-1] != '\n' {
			data = append(data, '\n')
		}
		data = append(data, hostLines...)
	}
	return os.WriteFile(file, data, 0o644)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
