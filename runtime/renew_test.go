package runtime_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
)

func TestCertificatesAreRenewedHostAfterHostMastersFirst(t *testing.T) {
	c := plainCluster(2, 3, "n2")
	c.Batch = 2
	p, err := life(t, c).UpdateCert(runtime.Renewal{ID: "1"})
	want := `renew master: m2:note_certificates m2:renew_m2
answers: m2:API_answers
ready: m1:ready_m2
serving: m2:serving_new_certificates
renew master: m1:note_certificates m1:renew_m1
answers: m1:API_answers
ready: m1:ready_m1
serving: m1:serving_new_certificates
renew nodes: n1:note_certificates n1:renew_n1 n3:note_certificates n3:renew_n3
ready: m1:ready_n1 m1:ready_n3
serving: n1:serving_new_certificates n3:serving_new_certificates
`
	if got := told(t, p, err); got != want {
		t.Errorf("got %s", got)
	}
}

func TestMastersOfAClusterThatDoesNotAnswerAreRenewedAtOnce(t *testing.T) {
	c := plainCluster(3, 0)
	p, err := life(t, c).UpdateCert(runtime.Renewal{ID: "1", Down: true})
	got := told(t, p, err)
	if first, _, _ := strings.Cut(got, "\n"); strings.Count(first, ":renew_") != 3 {
		t.Errorf("got %s", got)
	}
	if _, err := life(t, c).UpdateCert(runtime.Renewal{ID: "1", Down: true, CA: "m1"}); err == nil || !strings.Contains(err.Error(), "no master answers") {
		t.Errorf("new CAs: %v", err)
	}
}

func TestNoMasterIsStoppedWhileAnotherIsSilent(t *testing.T) {
	c := plainCluster(3, 1, "m3")
	c.TLSSANs = []string{"a.example.com"}
	if _, err := life(t, c).UpdateCert(runtime.Renewal{ID: "1"}); err == nil || !strings.Contains(err.Error(), "m3 does not answer") {
		t.Errorf("renew: %v", err)
	}
	if _, err := life(t, c).AddNames(); err == nil || !strings.Contains(err.Error(), "m3 does not answer") {
		t.Errorf("add names: %v", err)
	}
}

func TestNewCAsComeBeforeAllOtherCertificates(t *testing.T) {
	c := plainCluster(2, 0)
	p, err := life(t, c).UpdateCert(runtime.Renewal{ID: "1", CA: "m2"})
	if got := told(t, p, err); !strings.HasPrefix(got, "rotate CAs: m2:rotate_CA\nrenew master: ") {
		t.Errorf("got %s", got)
	}
	if _, err := life(t, c).UpdateCert(runtime.Renewal{ID: "1", CA: "m9"}); err == nil || !strings.Contains(err.Error(), "no master any more") {
		t.Errorf("on a master that left: %v", err)
	}
}

func TestDistributionThatRenewsNothingSaysSo(t *testing.T) {
	r, err := runtime.New(plainCluster(1, 0), fakeDriver{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdateCert(runtime.Renewal{}); !errors.Is(err, runtime.ErrUnsupported) {
		t.Error(err)
	}
	if _, err := r.AddNames(); !errors.Is(err, runtime.ErrUnsupported) {
		t.Error(err)
	}
}

func TestRenewalThatStoppedGoesOnAndAnotherBeginsAnew(t *testing.T) {
	c := plainCluster(2, 1)
	hosts, engine := machines(c)
	for _, h := range hosts {
		h.Respond([]string{runtime.HelperPath, "host", "certs"}, "", 0)
	}
	run := func(id string) error {
		p, err := life(t, c).UpdateCert(runtime.Renewal{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		return engine().Run(t.Context(), p)
	}
	hosts["m1"].Fail([]string{"renew"}, errors.New("disk full"), 1)
	if err := run("1"); err == nil || !strings.Contains(err.Error(), "renew master: host m1") {
		t.Fatal(err)
	}
	if n := count(hosts["n1"], "renew n1"); n != 0 {
		t.Error("a node was renewed before all masters")
	}
	for range 2 {
		if err := run("1"); err != nil {
			t.Fatal(err)
		}
	}
	if n, notes := count(hosts["m2"], "renew m2"), count(hosts["m2"], "--note"); n != 1 || notes != 1 {
		t.Errorf("m2 was renewed %d times and noted %d times", n, notes)
	}
	if n := count(hosts["n1"], "renew n1"); n != 1 {
		t.Errorf("n1 was renewed %d times", n)
	}
	if err := run("2"); err != nil {
		t.Fatal(err)
	}
	if n, notes := count(hosts["m2"], "renew m2"), count(hosts["m2"], "--note"); n != 2 || notes != 2 {
		t.Errorf("m2 was renewed %d times and noted %d times, want twice", n, notes)
	}
}

func TestNamesAreShownByOneMasterBeforeTheNext(t *testing.T) {
	c := plainCluster(2, 1)
	c.TLSSANs = []string{"a.example.com", "10.9.9.9"}
	p, err := life(t, c).AddNames()
	want := `add names: m2:name_m2
answers: m2:API_answers
ready: m1:ready_m2
serving: m2:API_shows_its_names
add names: m1:name_m1
answers: m1:API_answers
ready: m1:ready_m1
serving: m1:API_shows_its_names
`
	if got := told(t, p, err); got != want {
		t.Errorf("got %s", got)
	}
	var text strings.Builder
	if _, err := p.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	if line := "host certs --names a.example.com,10.9.9.9 --endpoint API=m1:6443,file=/etc/plain/a.crt\n"; !strings.Contains(text.String(), line) {
		t.Errorf("no %q in %s", line, &text)
	}
}
