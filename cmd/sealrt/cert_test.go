package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/certificates"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/registry"
	"github.com/sealrt/sealrt/runtime/state"
)

// certKnown is a cluster without hosts, whose state lies in a folder of its own.
func certKnown(t *testing.T, out io.Writer) *known {
	t.Helper()
	folder, err := state.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	image := runtime.Image{}
	image.Kind.Distro, image.Kind.Version = "k3s", "v1.25.3+k3s1"
	return &known{
		env: &environment{stdout: out, stderr: io.Discard, getenv: func(string) string { return "" }}, state: folder, driver: k3s.Driver{},
		cluster: &runtime.Cluster{Name: "test", Images: []runtime.Image{image}, Down: map[string]bool{}}, hosts: connections{}, dial: &dialer{},
	}
}

// tells has a host tell of certificates.
func tells(t *testing.T, h *hosttest.Host, list ...certificates.Certificate) {
	t.Helper()
	raw, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	h.Respond([]string{runtime.HelperPath, "host", "certs"}, string(raw), 0)
}

func TestCertCheckTellsWhichCertificatesAreNotWell(t *testing.T) {
	var out bytes.Buffer
	k := certKnown(t, &out)
	now := time.Now()
	ca, _, err := registry.LoadCA(k, "test", now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.certificates(t.Context(), now, 30); err == nil || !strings.Contains(err.Error(), "recover") {
		t.Errorf("without a CA: %v", err)
	}
	if err := ca.Keep(k); err != nil {
		t.Fatal(err)
	}
	other, err := registry.NewCA("another", now)
	if err != nil {
		t.Fatal(err)
	}
	well := certificates.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0)}
	for _, h := range []struct {
		name   string
		ca     *registry.CA
		made   time.Time
		change func(*certificates.Certificate)
	}{
		{"good", ca, now, nil}, {"soon", ca, now.AddDate(0, -11, -15), nil}, {"late", ca, now.AddDate(-2, 0, 0), nil}, {"alien", other, now, nil}, {"none", nil, now, nil},
		{"stale", nil, now, func(c *certificates.Certificate) { c.Endpoint, c.File, c.Stale = "kubelet", "/kubelet.crt", true }},
		{"key", nil, now, func(c *certificates.Certificate) { c.Key = certificates.Differs }},
		{"early", nil, now, func(c *certificates.Certificate) { c.NotBefore = now.Add(time.Hour) }},
		{"silent", nil, now, func(c *certificates.Certificate) { c.Error = "connection refused" }},
	} {
		there := hosttest.New(h.name)
		switch {
		case h.ca != nil:
			pair, err := h.ca.Issue(h.name, nil, h.made)
			if err != nil {
				t.Fatal(err)
			}
			there.WriteFile(runtime.ServiceCert, 0o600, pair.Cert)
			c, err := certificates.Parse(pair.Cert)
			if err != nil {
				t.Fatal(err)
			}
			c.Source = runtime.ServiceCert
			tells(t, there, c)
		case h.change != nil:
			c := well
			h.change(&c)
			tells(t, there, c)
		default:
			there.Respond([]string{runtime.HelperPath, "host", "certs"}, "", 2)
		}
		k.cluster.Members = append(k.cluster.Members, runtime.Member{Address: h.name, NodeIP: h.name, Role: runtime.Master})
		k.hosts[h.name] = there
	}
	found, err := k.certificates(t.Context(), now, 30)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"", "it ends in ", "expired", "unknown authority", "sealrt there is older", "another one is in /kubelet.crt", "not its own", "does not count before", "connection refused",
	}
	for i, want := range want {
		if got := found[i].Trouble; (got == "") != (want == "") || !strings.Contains(got, want) || (found[i].State == certOK) != (want == "") {
			t.Errorf("%s: %q, want %q", found[i].Host, got, want)
		}
	}
	if err := k.judgeCertificates("", found); err == nil || !strings.Contains(err.Error(), "8 certificates") || !strings.Contains(out.String(), "good") {
		t.Errorf("%v: %s", err, &out)
	}
	if err := k.judgeCertificates("", found[:1]); err != nil {
		t.Error(err)
	}
	if found, err = k.certificates(t.Context(), now, 0); err != nil || found[1].State != certOK || found[2].State != certExpired {
		t.Errorf("without days of warning: %v, %v, %v", found[1].State, found[2].State, err)
	}
	asked := strings.Join(k.hosts["good"].(*hosttest.Host).Transcript(), "\n")
	for _, part := range []string{"--endpoint API=good:6443,file=", "--endpoint kubelet=good:10250", "--endpoint etcd=good:2379", "--endpoint etcd-peer=good:2380", "--endpoint image-service=good:5557", "/var/lib/rancher/k3s/server/tls/*.crt", runtime.ServiceCert} {
		if !strings.Contains(asked, part) {
			t.Errorf("no %q in %s", part, asked)
		}
	}
	k.cluster.Registry = clusterfile.Registry{External: "harbor.example.com"}
	if err := k.hasService(); err == nil {
		t.Error("a cluster without the service has certificates")
	}
}

func TestKubeconfigOnThisMachineIsChecked(t *testing.T) {
	var out bytes.Buffer
	k := certKnown(t, &out)
	k.cluster.Registry = clusterfile.Registry{External: "harbor.example.com"}
	k.cluster.Members = []runtime.Member{{Address: "one", Role: runtime.Master}}
	there := hosttest.New("one")
	tells(t, there)
	k.hosts["one"] = there
	if err := os.WriteFile(k.state.KubeconfigPath(), []byte("users: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := k.certificates(t.Context(), time.Now(), 30)
	if err != nil || len(found) != 1 || found[0].Source != k.state.KubeconfigPath() || found[0].State != certUnreadable {
		t.Fatalf("%+v, %v", found, err)
	}
	if err := k.judgeCertificates("", found); err == nil || !strings.Contains(out.String(), "this machine") {
		t.Errorf("%v: %s", err, &out)
	}
}

func TestRenewalThatWasBrokenOffIsGoneOnWith(t *testing.T) {
	k := certKnown(t, io.Discard)
	k.cluster.Members = []runtime.Member{{Address: "one", Role: runtime.Master}, {Address: "two", Role: runtime.Master}}
	k.cluster.Acting = "two"
	now := time.Now()
	ask := func(ca bool, at time.Time) runtime.Renewal {
		t.Helper()
		how, err := k.renewal(ca, false, at)
		if err != nil {
			t.Fatal(err)
		}
		return how
	}
	first := ask(true, now)
	k.cluster.Acting = "one"
	if again := ask(true, now.Add(time.Hour)); again != first || again.CA != "two" {
		t.Errorf("%+v, then %+v", first, again)
	}
	other := ask(false, now.Add(2*time.Hour))
	if other.ID == first.ID || other.CA != "" {
		t.Errorf("one without CAs is %+v after %+v", other, first)
	}
	if late := ask(false, now.Add(48*time.Hour)); late.ID == other.ID {
		t.Error("one of days ago is gone on with")
	}
	if err := k.Write(renewalFile, nil); err != nil {
		t.Fatal(err)
	}
	if next := ask(false, now.Add(49*time.Hour)); next.ID == other.ID {
		t.Error("one that ended is gone on with")
	}
}

func TestRenewalIsPlannedWhetherTheClusterAnswersOrNot(t *testing.T) {
	for name, tt := range map[string]struct {
		answers bool
		flags   renewFlags
		want    string // phases
		err     string
	}{
		"it answers":                         {true, renewFlags{}, "renew deliver renew master/1 answers ready serving renew master/1 answers ready serving renew nodes/1 ready serving", ""},
		"it does not":                        {false, renewFlags{}, "renew deliver renew master/2 answers ready serving renew nodes/1 ready serving", ""},
		"the image service alone":            {false, renewFlags{service: true}, "renew", ""},
		"new CAs of a version that has none": {true, renewFlags{ca: true}, "", "k3s v1.25.3+k3s1, whose CAs cannot be rotated"},
	} {
		k := certKnown(t, io.Discard)
		k.dry = true
		for i, role := range []runtime.Role{runtime.Master, runtime.Master, runtime.Node} {
			m := runtime.Member{Address: fmt.Sprint("h", i), Hostname: fmt.Sprint("h", i), NodeIP: fmt.Sprint("10.0.0.", i+1), Role: role}
			h, code := hosttest.New(m.Address), 1
			if tt.answers {
				code = 0
			}
			h.Respond([]string{"/usr/local/bin/k3s", "kubectl"}, "", code)
			k.cluster.Members, k.hosts[m.Address] = append(k.cluster.Members, m), h
		}
		plan, how, err := k.planToRenew(t.Context(), tt.flags, !tt.flags.service)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var phases []string
		for _, p := range plan.Phases {
			if strings.HasPrefix(p.Name, "renew ") {
				p.Name += fmt.Sprint("/", len(p.Tasks))
			}
			phases = append(phases, p.Name)
		}
		if got := strings.Join(phases, " "); err != nil || got != tt.want || how.Down == tt.answers && !tt.flags.service {
			t.Errorf("%s: %v, %s, %+v", name, err, got, how)
		}
	}
}

func TestHostCertsTellsAndCompares(t *testing.T) {
	dir := t.TempDir()
	issue := func() {
		t.Helper()
		ca, err := registry.NewCA("test", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "a.crt"), ca.Certificate(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issue()
	note := filepath.Join(dir, "notes", "before.json")
	call := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := newHostCerts(&environment{stdout: &out, stderr: io.Discard})
		cmd.SetArgs(args)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	files := filepath.Join(dir, "*.crt")
	if out, err := call(files); err != nil || !strings.Contains(out, `"subject": "CN=sealrt image service of test"`) {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := call("--renewed", note); err != nil {
		t.Errorf("without a note: %v", err)
	}
	if _, err := call("--note", note, files); err != nil {
		t.Fatal(err)
	}
	if _, err := call("--renewed", note); err == nil || !strings.Contains(err.Error(), "from before") {
		t.Errorf("the same: %v", err)
	}
	issue()
	if _, err := call("--renewed", note); err != nil {
		t.Errorf("another: %v", err)
	}
	if _, err := call("--endpoint", "x"); err == nil || !errors.As(err, new(usageError)) {
		t.Errorf("an endpoint that is none: %v", err)
	}
}

func TestNothingIsFreedBehindAnOperationThatDidNotEnd(t *testing.T) {
	folder, err := state.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	k := &known{env: &environment{stderr: io.Discard}, state: folder}
	if err := k.atRest(); err != nil {
		t.Errorf("without a journal: %v", err)
	}
	for _, tt := range []struct{ state, want string }{
		{`"begun"`, "not ended"}, {`"failed"`, "failed"}, {`"done"`, ""},
	} {
		line := `{"operation":"1","time":"2026-01-02T03:04:05Z","client":"me@here","command":"upgrade","state":` + tt.state + "}\n"
		if err := k.Record(t.Context(), []byte(line)); err != nil {
			t.Fatal(err)
		}
		err := k.atRest()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), "upgrade by me@here") || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.state, err)
		}
	}
}
