package k3s_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
)

// guarded runs a script as a host that is cleaned does, for so many seconds at most.
func guarded(t *testing.T, script, seconds string) (stdout, stderr string, code int) {
	t.Helper()
	if goruntime.GOOS != "linux" {
		t.Skip("hosts run Linux, and the script needs its /proc")
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "k3s-uninstall.sh")
	if err := os.WriteFile(name, []byte(script), 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "hostfiles/run.sh", name, seconds, filepath.Join(dir, "data"), filepath.Join(dir, "kubelet"))
	cmd.Env = append(os.Environ(), "HTTP_PROXY=http://nowhere", "K3S_URL=https://nowhere", "OUT="+dir)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestScriptThatHangsIsEnded(t *testing.T) {
	_, stderr, code := guarded(t, "#!/bin/sh\nexec sleep 1000\n", "1")
	if code == 0 || !strings.Contains(stderr, "did not end within 1 seconds") {
		t.Errorf("exit status %d: %s", code, stderr)
	}
}

func TestScriptThatFailsIsToldOf(t *testing.T) {
	_, stderr, code := guarded(t, "#!/bin/sh\necho the disk is away\nexit 7\n", "100")
	if code != 7 || !strings.Contains(stderr, "the disk is away") {
		t.Errorf("exit status %d: %s", code, stderr)
	}
}

func TestScriptSeesNothingOfWhoRunsItAndNoPackageManager(t *testing.T) {
	stdout, stderr, code := guarded(t, `#!/bin/sh
read -r line && exit 3 # what is being read is not for it
for name in HTTP_PROXY K3S_URL OUT; do
	if env | grep -q "^$name="; then echo "$name is set"; exit 1; fi
done
for tool in yum dnf rpm-ostree zypper transactional-update tailscale; do
	if command -v $tool; then exit 1; fi
done
case $K3S_DATA_DIR in */data) ;; *) echo "data is in $K3S_DATA_DIR"; exit 1 ;; esac
command -v rm
`, "100")
	if code != 0 || !strings.Contains(stdout, "k3s-uninstall.sh ran") {
		t.Errorf("exit status %d: %s%s", code, stdout, stderr)
	}
}
