package runtime_test

import (
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

func TestKubeconfigNamesTheMastersAddress(t *testing.T) {
	h := hosttest.New("a")
	h.WriteFile("/etc/kubernetes/admin.conf", 0o600, []byte("apiVersion: v1\nkind: Config\nclusters:\n- name: k\n  cluster: {server: \"https://api.test.sealrt.internal:6443\", certificate-authority-data: Q0E=}\n"))
	got, err := runtime.Kubeconfig(t.Context(), h, "/etc/kubernetes/admin.conf", "2001:db8::1")
	if err != nil || !strings.Contains(string(got), "server: https://[2001:db8::1]:6443") || !strings.Contains(string(got), "Q0E=") {
		t.Errorf("%v\n%s", err, got)
	}
	h.WriteFile("/etc/kubernetes/admin.conf", 0o600, []byte("kind: Config\n"))
	if _, err := runtime.Kubeconfig(t.Context(), h, "/etc/kubernetes/admin.conf", "10.0.0.1"); err == nil {
		t.Error("a kubeconfig without a cluster was taken")
	}
}
