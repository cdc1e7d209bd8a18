package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// users are those that a controller's parts run as.
var users = []string{"etcd", "kube-apiserver"} //nolint:gochecknoglobals // a table that nothing changes

const passwd = "/etc/passwd"

func unitPath(role string) string { return "/etc/systemd/system/k0s" + role + ".service" }

// install writes the unit of a role.
func install(ctx context.Context, a *arguments) error {
	if len(a.words) != 1 || a.words[0] != "controller" && a.words[0] != "worker" {
		return errors.New("install: controller or worker")
	}
	role := a.words[0]
	if role == "controller" {
		if _, err := readConfig(a.flag("config")); err != nil {
			return fmt.Errorf("invalid node config: %w", err)
		}
		if err := addUsers(); err != nil {
			return err
		}
	}
	if _, err := os.Stat(root(unitPath(role))); err == nil && a.flag("force") == "" {
		return fmt.Errorf("failed to install %s service: Init already exists: %s", role, unitPath(role))
	}
	var words []string
	for _, f := range a.given {
		if f != "--force=true" {
			words = append(words, strings.ReplaceAll(f, " ", `\x20`))
		}
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	text := `[Unit]
Description=k0s - Zero Friction Kubernetes
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=` + program + " " + role + " " + strings.Join(words, " ") + `
RestartSec=1
Restart=always
Delegate=yes
KillMode=process
TimeoutStartSec=0

[Install]
WantedBy=multi-user.target
`
	if err := writeFile(unitPath(role), 0o644, []byte(text)); err != nil {
		return err
	}
	return errors.Join(systemctl(ctx, "daemon-reload"), systemctl(ctx, "enable", "k0s"+role))
}

func systemctl(ctx context.Context, args ...string) error {
	if os.Getenv("STANDIN_ROOT") != "" {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func addUsers() error {
	raw, err := os.ReadFile(root(passwd))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := string(raw)
	for i, u := range users {
		if line := fmt.Sprintf("%s:x:%d:65534:k0s:/var/lib/k0s:/sbin/nologin\n", u, 950+i); !strings.Contains("\n"+text, "\n"+u+":") {
			text += line
		}
	}
	return os.WriteFile(root(passwd), []byte(text), 0o644)
}

func removeUsers() error {
	raw, err := os.ReadFile(root(passwd))
	if err != nil {
		return nil //nolint:nilerr // there are no users at all
	}
	var text string
	for line := range strings.Lines(string(raw)) {
		name, _, _ := strings.Cut(line, ":")
		if !contains(users, name) || !strings.Contains(line, ":k0s:") {
			text += line
		}
	}
	return os.WriteFile(root(passwd), []byte(text), 0o644)
}

// report is what a k0s that runs says of itself.
type report struct {
	Role    string
	Version string
	Ready   bool
}

// running holds the lock of the k0s that runs; it is gone with the process.
type running struct {
	file *os.File
	is   report
}

func begin(role string) (*running, error) {
	path := root(statusFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(errors.New("k0s runs already"), f.Close())
	}
	r := &running{file: f, is: report{Role: role, Version: Version}}
	return r, r.tell()
}

func (r *running) tell() error {
	raw, err := json.Marshal(r.is)
	if err != nil {
		return err
	}
	if err := r.file.Truncate(0); err != nil {
		return err
	}
	_, err = r.file.WriteAt(raw, 0)
	return err
}

// ready has `k0s status` answer.
func (r *running) ready() error {
	r.is.Ready = true
	return r.tell()
}

// answers returns what the k0s that runs says; nil where none does.
func answers() (*report, error) {
	f, err := os.Open(root(statusFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // none runs
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return nil, nil //nolint:nilnil // none runs
	}
	var is report
	if err := json.NewDecoder(f).Decode(&is); err != nil || !is.Ready {
		return nil, errors.Join(errors.New("k0s starts"), err)
	}
	return &is, nil
}

func status() error {
	is, err := answers()
	if err != nil {
		return err
	}
	if is == nil {
		return errors.New("k0s is not running")
	}
	fmt.Printf("Version: %s\nRole: %s\n", is.Version, is.Role)
	return nil
}

// stopped demands that no k0s runs.
func stopped(what string) error {
	if is, err := answers(); is != nil || err != nil {
		return fmt.Errorf("k0s seems to be running, please stop k0s before %s", what)
	}
	return nil
}

// reset takes away what k0s made, but for its program and /etc/k0s.
func reset(ctx context.Context, a *arguments) error {
	if err := stopped("reset"); err != nil {
		return err
	}
	var errs []error
	for _, role := range []string{"controller", "worker"} {
		if _, err := os.Stat(root(unitPath(role))); err == nil {
			errs = append(errs, systemctl(ctx, "disable", "k0s"+role), os.Remove(root(unitPath(role))))
		}
	}
	errs = append(errs, systemctl(ctx, "daemon-reload"), removeUsers())
	for _, dir := range []string{dataDir, "/run/k0s", "/etc/cni/net.d", a.flag("kubelet-root-dir")} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(root(dir)))
		}
	}
	return errors.Join(errs...)
}
