package sandbox

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEnvironOfTheBuildSandbox(t *testing.T) {
	got := environ([]string{"A=1", "PATH=/opt/x", "INSTALL_K3S_SKIP_START=false", "A=2"}, "/tmp", false, true)
	want := []string{
		"HOME=/tmp",
		"INSTALL_K3S_BIN_DIR=/rootfs/bin",
		"INSTALL_K3S_SKIP_ENABLE=true",
		"INSTALL_K3S_SKIP_START=false",
		"INSTALL_K3S_SYSTEMD_DIR=/rootfs/etc",
		"INSTALL_K3S_SKIP_SELINUX_RPM=true",
		"INSTALL_K3S_SELINUX_WARN=true",
		"SSL_CERT_FILE=/dev/sealrt-ca.pem",
		"CURL_CA_BUNDLE=/dev/sealrt-ca.pem",
		"PATH=/rootfs/bin:/opt/x:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"A=2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironOfATreeWithAShellHasNothingOfTheBuilder(t *testing.T) {
	got := environ([]string{"PATH=/only/mine"}, "/root", true, false)
	if diff := cmp.Diff([]string{"HOME=/root", "PATH=/only/mine"}, got); diff != "" {
		t.Error(diff)
	}
	got = environ(nil, "/root", true, false)
	if diff := cmp.Diff([]string{"HOME=/root", "PATH=" + systemPath}, got); diff != "" {
		t.Error(diff)
	}
}

func TestHomeWhereverACommandRuns(t *testing.T) {
	for user, want := range map[string]string{
		"": "HOME=/tmp", "root": "HOME=/tmp", "0:5": "HOME=/tmp", "nobody": "HOME=/nonexistent", "65534:0": "HOME=/nonexistent", "5": "HOME=/",
	} {
		if got := Environ(nil, user, false, false); got[0] != want {
			t.Errorf("user %q in the build sandbox: %q, want %s", user, got, want)
		}
		if diff := cmp.Diff([]string{"PATH=" + systemPath}, Environ(nil, user, true, false)); diff != "" {
			t.Errorf("user %q in a tree: %s", user, diff)
		}
	}
	if diff := cmp.Diff([]string{"PATH=" + systemPath, "HOME=/mine"}, Environ([]string{"HOME=/mine"}, "", true, false)); diff != "" {
		t.Errorf("a HOME that was given: %s", diff)
	}
}

func TestHostLines(t *testing.T) {
	tests := []struct {
		pairs   []string
		want    string
		wantErr string
	}{
		{nil, "", ""},
		{[]string{"a.local:10.0.0.2", "b:[::1]", "c:fd00::2"}, "10.0.0.2\ta.local\n::1\tb\nfd00::2\tc\n", ""},
		{[]string{"a=10.0.0.2", "b=::1"}, "10.0.0.2\ta\n::1\tb\n", ""},
		{[]string{"a"}, "", "name:address"},
		{[]string{":10.0.0.2"}, "", "name:address"},
		{[]string{"a:b"}, "", "name:address"},
		{[]string{"a b:10.0.0.2"}, "", "name:address"},
	}
	for _, tt := range tests {
		got, err := hostLines(tt.pairs)
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.pairs, got, tt.want)
		}
		if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%q: error %v, want %q", tt.pairs, err, tt.wantErr)
		}
	}
}
