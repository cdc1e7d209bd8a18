package main

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"testing"
	"time"
)

// started is a server whose API answers on a port of loopback.
func started(t *testing.T, id string, st *state) (*server, *httptest.Server) {
	t.Helper()
	s := &server{id: id, state: st, config: settings{"node-name": id}, client: newClient(), seen: map[string]time.Time{}, since: time.Now(), fatal: make(chan error, 9)}
	web := httptest.NewTLSServer(s.handler())
	t.Cleanup(web.Close)
	return s, web
}

func word(name, role string) heartbeat {
	return heartbeat{Node: node{Name: name, Role: role, Version: Version}, Password: name, First: true}
}

func TestServersJoinOneAfterAnotherAndLiveByTheirMajority(t *testing.T) {
	t.Setenv("STANDIN_ROOT", t.TempDir())
	founder := &state{Etcd: true, ServerToken: "s", AgentToken: "a", Admin: "root", Critical: map[string]string{}, Passwords: map[string]string{}, Nodes: map[string]node{}, Objects: map[string]json.RawMessage{}}
	one, web := started(t, "1", founder)
	one.state.Members = []member{{ID: "1", Name: "m1", URL: web.URL}}
	post := func(path, token string, ask, out any) error {
		return one.call(t.Context(), web.URL+path, token, ask, out)
	}
	refused(t, "the first node", post("/standin/node", "s", word("m1", "server"), nil), "")

	webs := []*httptest.Server{web}
	for _, id := range []string{"2", "3"} {
		s, web := started(t, id, &state{ServerToken: "s"})
		ask := joining{Member: member{ID: id, Name: "m" + id, URL: web.URL}, Critical: map[string]string{}, Password: "m" + id, Version: Version}
		refused(t, "a server with the agents' token", post("/standin/join", "a", ask, nil), "(R6)")
		joined := &state{}
		refused(t, "join", post("/standin/join", "s", ask, joined), "")
		s.mu.Lock()
		s.state = joined
		s.mu.Unlock()
		other := ask
		other.Member = member{ID: "9", Name: "m9", URL: web.URL}
		refused(t, "one more while a learner is there", post("/standin/join", "s", other, nil), "(R4)")
		refused(t, "node", s.call(t.Context(), web.URL+"/standin/node", "s", word("m"+id, "server"), nil), "")
		_, live, err := one.leader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		refused(t, "promotion", one.promote(t.Context(), live), "")
		webs = append(webs, web)
	}
	refused(t, "an agent with the servers' token", post("/standin/node", "s", word("n1", "agent"), nil), "(R6)")
	refused(t, "an agent", post("/standin/node", "a", word("n1", "agent"), nil), "")
	refused(t, "a stranger", post("/standin/node", "x", word("n2", "agent"), nil), "Unauthorized")
	if n := len(one.current().voters()); n != 3 {
		t.Fatalf("%d voters", n)
	}

	webs[2].Close()
	refused(t, "two of three", post("/readyz", "", nil, nil), "")
	refused(t, "a change by two of three", post("/standin/cordon", "root", map[string]any{"Name": "n1", "Unschedulable": true}, nil), "")
	webs[1].Close()
	err := post("/standin/cordon", "root", map[string]any{"Name": "n1"}, nil)
	var no *refusal
	if !errors.As(err, &no) || no.code != 503 {
		t.Errorf("one of three: %v", err)
	}
}

func TestServerThatMissedChangesCatchesUpAndStopsWhenItWasRemoved(t *testing.T) {
	t.Setenv("STANDIN_ROOT", t.TempDir())
	now := standing()
	now.Revision, now.Removed = 5, []string{"2"}
	now.Members = []member{{ID: "1", Name: "m1"}}
	late, _ := started(t, "2", &state{ServerToken: "s", Revision: 3})
	if err := late.take(now); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-late.fatal:
		refused(t, "removed", err, "(R12)")
	default:
		t.Error("it goes on")
	}
	old := standing()
	old.Revision = 4
	if err := late.take(old); err != nil || late.current().Revision != 5 {
		t.Errorf("%v, revision %d", err, late.current().Revision)
	}
}
