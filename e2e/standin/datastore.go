package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"
)

// endpoint is the setting that names a datastore of the user's.
const endpoint = "datastore-endpoint"

// datastore is one: a web server that keeps one document, which is written only
// over the revision that the writer knows (If-Match).
type datastore struct {
	url    string
	client *http.Client
}

// errRaced says that another server has written in between.
var errRaced = errors.New("datastore: another server was faster")

// checkDatastore refuses settings that a server beside a datastore has no use for.
func checkDatastore(config settings) error {
	external := config.text(endpoint) != ""
	for _, key := range []string{"cluster-init", "server"} {
		if external && config.text(key) != "" {
			return fmt.Errorf("%s beside %s: servers find each other in their datastore, and have no etcd of their own", key, endpoint)
		}
	}
	for _, key := range []string{"datastore-cafile", "datastore-certfile", "datastore-keyfile"} {
		file := config.text(key)
		if file == "" {
			continue
		}
		if !external {
			return fmt.Errorf("%s without %s", key, endpoint)
		}
		info, err := os.Stat(root(file))
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			return fmt.Errorf("%s: %s is for everybody to read", key, file)
		}
	}
	return nil
}

// openDatastore returns the datastore of the settings, nil where they name none.
func openDatastore(config settings) (*datastore, error) {
	url := config.text(endpoint)
	if url == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := config.text("datastore-cafile"); file != "" {
		raw, err := os.ReadFile(root(file))
		if err != nil {
			return nil, err
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("datastore-cafile: %s holds no certificate", file)
		}
	}
	return &datastore{url, &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: trust}}}, nil
}

// load returns the state of the cluster, nil where there is none yet.
func (d *datastore) load(ctx context.Context) (*state, error) {
	resp, err := d.ask(ctx, http.MethodGet, nil, "")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, nil //nolint:nilnil // the first server makes it
	case http.StatusOK:
		st := &state{}
		return st, json.NewDecoder(resp.Body).Decode(st)
	}
	return nil, fmt.Errorf("datastore: %s", resp.Status)
}

// save writes the state over that of the revision before; 0: there is none.
func (d *datastore) save(ctx context.Context, st *state, before int64) error {
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	resp, err := d.ask(ctx, http.MethodPut, raw, strconv.FormatInt(before, 10))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusPreconditionFailed:
		return errRaced
	}
	return fmt.Errorf("datastore: %s", resp.Status)
}

func (d *datastore) ask(ctx context.Context, method string, body []byte, match string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, d.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("datastore: %w", err)
	}
	if match != "" {
		req.Header.Set("If-Match", match)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("datastore: %w", err)
	}
	return resp, nil
}

// share makes this server one of those that share the datastore, its first or a
// further one.
func (s *server) share(ctx context.Context) error {
	raw, err := os.ReadFile(root(memberFile))
	if s.id = string(raw); err != nil {
		s.id = random()
	}
	for {
		st, err := s.store.load(ctx)
		if err != nil {
			return err
		}
		var before int64
		if st == nil {
			if st, err = s.found(); err == nil {
				st.CAs, err = newAuthorities()
			}
		} else {
			before = st.Revision
			err = s.sharedBy(st)
		}
		if err != nil {
			return err
		}
		st.Revision = before + 1
		if err := s.store.save(ctx, st, before); !errors.Is(err, errRaced) {
			s.state = st
			return errors.Join(err, writeFile(memberFile, 0o600, []byte(s.id)))
		}
	}
}

// sharedBy lists this server among those of a cluster that is there.
func (s *server) sharedBy(st *state) error {
	if err := opens(s.config, st); err != nil {
		return err
	}
	if err := st.sameSettings(s.config.critical()); err != nil {
		return err
	}
	if err := step(st.Nodes[s.self().Name].Version, Version); err != nil {
		return err
	}
	if slices.Contains(st.Removed, s.id) { // its data is not here: it may come again
		s.id = random()
	}
	if known := st.memberOf(s.self().Name); known != nil {
		*known = s.self()
	} else {
		st.Members = append(st.Members, s.self())
	}
	return nil
}

// amend makes a change in the datastore, once more where another server was faster.
func (s *server) amend(ctx context.Context, do func(*state) error) error {
	for {
		next, err := s.state.clone()
		if err != nil {
			return err
		}
		if err := do(next); err != nil {
			return err
		}
		next.Revision++
		if err = s.store.save(ctx, next, s.state.Revision); err == nil {
			s.state = next
			return s.removed(next)
		}
		if !errors.Is(err, errRaced) {
			return err
		}
		if s.state, err = s.store.load(ctx); err != nil {
			return err
		}
	}
}

// keep writes the state where this server has it: that of a datastore is there.
func (s *server) keep(st *state) error {
	if s.store != nil {
		return nil
	}
	return st.save()
}
