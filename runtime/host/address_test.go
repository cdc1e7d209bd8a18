package host_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime/host"
)

func TestParseAddresses(t *testing.T) {
	tests := []struct {
		list string
		want string // String of each, by spaces
	}{
		{"", ""},
		{" ", ""},
		{"10.0.0.1", "10.0.0.1"},
		{"ops@a.example:2222, b", "ops@a.example:2222 b"},
		{"[::1]:22,[fe80::1]", "[::1]:22 [fe80::1]"},
		{"ops@[2001:db8::7]:2222", "ops@[2001:db8::7]:2222"},
		{"10.0.0.[1-3]", "10.0.0.1 10.0.0.2 10.0.0.3"},
		{"u@10.0.0.[1,3,8-9]:23", "u@10.0.0.1:23 u@10.0.0.3:23 u@10.0.0.8:23 u@10.0.0.9:23"},
		{"node[08-10]", "node08 node09 node10"},
		{"r[a,b]-[1-2]", "ra-1 ra-2 rb-1 rb-2"},
		{"127.0.0.1:22,127.0.0.1:23", "127.0.0.1:22 127.0.0.1:23"},
	}
	for _, tt := range tests {
		t.Run(tt.list, func(t *testing.T) {
			all, err := host.ParseAddresses(tt.list)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range all {
				got = append(got, a.String())
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseAddressesSaysWhatIsWrong(t *testing.T) {
	tests := []struct{ list, want string }{
		{"10.0.0.2,10.0.0.[1-5]", `"10.0.0.2" and "10.0.0.[1-5]" both name 10.0.0.2`},
		{"a,ops@A:22", `"a" and "ops@A:22" both name A`},
		{"[::1],[0:0::1]", "both name 0:0::1"},
		{"::1", "write [::1] or [::1]:22"},
		{"a,,b", "an entry is empty"},
		{"a:", "the port after : is empty"},
		{"a:0", "is not a port"},
		{"a:66000", "is not a port"},
		{"@a", "the user before @ is empty"},
		{"a[1-2", "a [ is not closed"},
		{"a1-2]", "a ] has no ["},
		{"a[2-1]", "runs backwards"},
		{"a[1-x]", "is not a range"},
		{"a[1-4000000000]", "more than 4096"},
		{"a[1-100][1-100]", "more than 4096"},
		{"10.0.0.[250-256]", "is not an IPv4 address"},
		{"10.0.0", "is not an IPv4 address"},
		{"a b", "cannot stand in a host name"},
		{"--masters", "looks like a flag"},
		{"u@", "the host is empty"},
		{"a,root:hunter2@a", "a password does not stand there"},
	}
	for _, tt := range tests {
		t.Run(tt.list, func(t *testing.T) {
			got, err := host.ParseAddresses(tt.list)
			if err == nil {
				t.Fatalf("no error, but %v", got)
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %q, want %q in it", err, tt.want)
			}
		})
	}
}
