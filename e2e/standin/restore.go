package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// resetFlag is there from a reset of the cluster until the server starts.
	resetFlag = dataDir + "/server/db/reset-flag"
	// resetPath begins the argument that names a snapshot.
	resetPath = "--cluster-reset-restore-path="
	// passwordSecret ends the name of the secret with a node's password.
	passwordSecret = ".node-password.k3s"
)

// snapshot knows save --name NAME [--dir DIR], ls and delete NAME.
func snapshot(ctx context.Context, args []string) error {
	const usage = "etcd-snapshot: the stand-in knows save --name NAME [--dir DIR], ls, and delete NAME"
	dir := root(dataDir + "/server/db/snapshots")
	switch {
	case len(args) == 5 && args[0] == "save" && args[1] == "--name" && args[3] == "--dir":
		if _, err := os.Stat(root(args[4])); err != nil {
			return fmt.Errorf("failed to get etcd-snapshot-dir: %w", err)
		}
		return saveSnapshot(ctx, args[2], root(args[4]))
	case len(args) == 3 && args[0] == "save" && args[1] == "--name":
		return saveSnapshot(ctx, args[2], dir)
	case len(args) == 1 && args[0] == "ls":
		found, err := os.ReadDir(dir)
		for _, e := range found {
			fmt.Println(e.Name())
		}
		return err
	case len(args) == 2 && args[0] == "delete" && filepath.Base(args[1]) == args[1]:
		return os.Remove(filepath.Join(dir, args[1]))
	}
	return errors.New(usage)
}

// saveSnapshot keeps the state of the cluster that runs here. It is encrypted, so to
// speak, with the server token.
func saveSnapshot(ctx context.Context, name, dir string) error {
	a := &asked{flags: map[string]string{}, ctx: ctx}
	if err := a.connect(); err != nil {
		return err
	}
	list, err := a.nodes()
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(root(stateFile))
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	for _, n := range list { // a cluster on SQLite refuses this
		if err := a.call("/standin/snapshot", n.Status.NodeInfo.KubeletVersion, nil); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name = fmt.Sprintf("%s-%s-%d", name, host, time.Now().Unix())
	if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
		return err
	}
	fmt.Println("Snapshot", name, "saved.")
	return nil
}

// resets reports whether the arguments of a server ask for a reset of the cluster,
// the only thing that is asked of it by arguments, and of which snapshot.
func resets(args []string) (path string, yes bool) {
	if len(args) == 0 || args[0] != "--cluster-reset" {
		return "", false
	}
	if len(args) == 2 && strings.HasPrefix(args[1], resetPath) {
		path = strings.TrimPrefix(args[1], resetPath)
	}
	return path, len(args) == 1 || path != ""
}

// clusterReset makes this host's server the only member of the cluster, with the
// data of a snapshot where one is named.
func clusterReset(config settings, path string) error {
	held, err := lock()
	if err != nil {
		return fmt.Errorf("%w: the service is stopped before its data is touched", err)
	}
	defer held.Close()
	if config.text("server") != "" {
		return errors.New("cannot perform cluster-reset while server URL is set - remove server from configuration before resetting")
	}
	if _, err := os.Stat(root(resetFlag)); err == nil {
		return fmt.Errorf("managed etcd cluster membership was previously reset, please remove the cluster-reset flag and start k3s normally: %s", resetFlag)
	}
	from := root(stateFile)
	if path != "" {
		from = root(path)
	}
	raw, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("etcd: snapshot path does not exist: %w", err)
	}
	st := &state{}
	if err := json.Unmarshal(raw, st); err != nil || st.ServerToken == "" {
		return fmt.Errorf("%s is no snapshot", path)
	}
	if !st.Etcd {
		return errors.New("the data is of SQLite: a cluster-reset is for etcd")
	}
	if err := opens(config, st); err != nil {
		return err
	}
	s := &server{config: config, id: random()}
	for _, m := range st.Members {
		st.Removed = append(st.Removed, m.ID)
	}
	st.Members = []member{s.self()}
	st.Revision++
	if err := writeFile(memberFile, 0o600, []byte(s.id)); err != nil {
		return err
	}
	if err := st.save(); err != nil {
		return err
	}
	if err := writeFile(resetFlag, 0o600, nil); err != nil {
		return err
	}
	fmt.Println("Managed etcd cluster membership has been reset, restart without --cluster-reset flag now.")
	return nil
}

// opens refuses a token that does not open the data.
func opens(config settings, st *state) error {
	if token := config.token(); token != "" && token != st.ServerToken {
		return errors.New("bootstrap data already found and encrypted with different token: a backup is restored with its own (R24)")
	}
	return nil
}

// afterReset ends a reset when the server starts: its own node is let in by
// whatever password it has now.
func (s *server) afterReset() error {
	err := os.Remove(root(resetFlag))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	delete(s.state.Passwords, s.self().Name)
	return err
}

// superseded refuses to start a server with data of a cluster that was reset
// elsewhere: those that it knows do not know it.
func (s *server) superseded(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, peekTimeout)
	defer cancel()
	for _, m := range s.state.Members {
		var is state
		if m.ID == s.id || s.call(ctx, m.URL+"/standin/state", s.state.ServerToken, nil, &is) != nil {
			continue
		}
		if is.member(s.id) == nil {
			return fmt.Errorf("the cluster of %s was reset, or this server removed from it: its server/db has to go before it joins (R13)", m.Name)
		}
	}
	return nil
}

// dropPassword forgets the password of a node whose secret is deleted.
func (s *server) dropPassword(r *http.Request, live map[string]int64, secret string) error {
	name, ok := strings.CutSuffix(secret, passwordSecret)
	return s.change(r.Context(), live, func(st *state) error {
		if _, known := st.Passwords[name]; !ok || !known {
			return fmt.Errorf("secrets %q not found", secret)
		}
		delete(st.Passwords, name)
		return nil
	})
}

// eachOf splits what a command is about, KIND NAME... or KIND/NAME..., into one
// thing each.
func eachOf(words []string) [][]string {
	var out [][]string
	if strings.Contains(words[0], "/") || len(words) == 1 {
		for _, w := range words {
			out = append(out, []string{w})
		}
		return out
	}
	for _, name := range words[1:] {
		out = append(out, []string{words[0], name})
	}
	return out
}
