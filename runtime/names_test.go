package runtime_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

func TestNamesOfTheAPIAreThereOnce(t *testing.T) {
	c := &runtime.Cluster{Name: "c1", Spec: clusterfile.Spec{Endpoint: "api.example.com:6443", TLSSANs: []string{"10.0.0.9", "api.example.com"}}}
	want := []string{"first", "api.c1.sealrt.internal", "api.example.com", "10.0.0.9"}
	if got := c.APINames("first"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if err := c.CheckNames([]string{"api.example.com"}, "x sets y"); err == nil || !strings.Contains(err.Error(), "lacks 10.0.0.9") {
		t.Errorf("a name that is left out: %v", err)
	}
	if err := c.CheckNames(want, "x sets y"); err != nil {
		t.Error(err)
	}
}

func TestWhatIsReachedWithoutAProxy(t *testing.T) {
	c := &runtime.Cluster{Name: "c1", Spec: clusterfile.Spec{Proxy: clusterfile.Proxy{HTTPS: "http://p:3128", NoProxy: []string{"localhost", ".corp"}}}, Members: []runtime.Member{
		{NodeIP: "10.0.0.1"}, {NodeIP: "127.0.0.1"}, {NodeIP: "203.0.113.7"},
	}}
	got := c.NoProxy(".svc")
	want := []string{
		"localhost", "api.c1.sealrt.internal", "127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",
		".svc", "203.0.113.7", ".corp",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	vars := c.ProxyVariables(got)
	if len(vars) != 2 || vars["HTTPS_PROXY"] != "http://p:3128" || vars["NO_PROXY"] != strings.Join(want, ",") {
		t.Errorf("%v", vars)
	}
	c.Proxy.HTTPS = ""
	if vars := c.ProxyVariables(got); len(vars) > 0 {
		t.Errorf("without a proxy: %v", vars)
	}
	c.Proxy.HTTP = "env:PROXY"
	if err := c.CheckProxy(); err == nil || !strings.Contains(err.Error(), "proxy.http:") {
		t.Errorf("a reference: %v", err)
	}
}
