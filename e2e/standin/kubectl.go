package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// asked is a command line of kubectl.
type asked struct {
	words []string
	flags map[string]string
	api   string
	token string
	ctx   context.Context //nolint:containedctx // of one command
}

// switches are the flags without a value.
var switches = strings.Fields("all-namespaces server-side force-conflicts ignore-not-found ignore-daemonsets delete-emptydir-data force no-headers overwrite") //nolint:gochecknoglobals // a table that nothing changes

func kubectl(ctx context.Context, args []string) error {
	a := &asked{flags: map[string]string{"n": "default"}, ctx: ctx}
	for i := 0; i < len(args); i++ {
		name, dashed := strings.CutPrefix(args[i], "-")
		if !dashed || args[i] == "-" {
			a.words = append(a.words, args[i])
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		if !given && !slices.Contains(switches, name) {
			if i++; i == len(args) {
				return fmt.Errorf("flag needs an argument: -%s", name)
			}
			value = args[i]
		}
		if name == "namespace" {
			name = "n"
		}
		a.flags[name] = value
	}
	if err := a.connect(); err != nil {
		return err
	}
	if raw, ok := a.flags["raw"]; ok {
		return a.raw(raw)
	}
	if len(a.words) == 0 {
		return errors.New("kubectl: a command is missing")
	}
	do, ok := map[string]func() error{
		"get": a.get, "wait": a.wait, "drain": a.drain, "cordon": func() error { return a.cordon(true) },
		"uncordon": func() error { return a.cordon(false) }, "delete": a.delete, "apply": a.apply, "rollout": a.rollout,
		"label": func() error { return a.mark("label") }, "taint": func() error { return a.mark("taint") },
	}[a.words[0]]
	if !ok {
		return fmt.Errorf("kubectl: the stand-in does not know %q", a.words[0])
	}
	return do()
}

// connect reads the kubeconfig.
func (a *asked) connect() error {
	path := a.flags["kubeconfig"]
	if path == "" {
		path = os.Getenv("KUBECONFIG")
	}
	if path == "" {
		path = root(configDir + "/k3s.yaml")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config struct {
		Clusters []struct{ Cluster struct{ Server string } }
		Users    []struct{ User struct{ Token string } }
	}
	if err := yaml.Unmarshal(raw, &config); err != nil || len(config.Clusters) == 0 || len(config.Users) == 0 {
		return fmt.Errorf("%s is no kubeconfig: %w", path, err)
	}
	a.api, a.token = config.Clusters[0].Cluster.Server, config.Users[0].User.Token
	return nil
}

func (a *asked) call(path string, ask, out any) error {
	err := call(a.ctx, newClient(), a.api+path, a.token, ask, out)
	var no *refusal
	if errors.As(err, &no) {
		return fmt.Errorf("error from server (%s): %w", http.StatusText(no.code), err)
	}
	return err
}

func (a *asked) raw(path string) error {
	req, err := http.NewRequestWithContext(a.ctx, http.MethodGet, a.api+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := newClient().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("error from server: %s", text)
	}
	fmt.Print(string(text))
	return err
}

func (a *asked) nodes() ([]nodeObject, error) {
	var list nodeList
	err := a.call("/api/v1/nodes", nil, &list)
	return list.Items, err
}

func (a *asked) node(name string) (nodeObject, error) {
	list, err := a.nodes()
	if err != nil {
		return nodeObject{}, err
	}
	for _, n := range list {
		if n.Metadata.Name == name {
			return n, nil
		}
	}
	return nodeObject{}, fmt.Errorf("error from server (NotFound): nodes %q not found", name)
}

// what returns the kind and name of the words after a command: node/x, node x.
func (a *asked) what(words []string) (kind, name string) {
	kind, name, slash := strings.Cut(words[0], "/")
	if !slash && len(words) > 1 {
		name = words[1]
	}
	return kindOf(kind), name
}

func (a *asked) get() error {
	if len(a.words) < 2 {
		return errors.New("kubectl get: say what")
	}
	kind, name := a.what(a.words[1:])
	var found []any
	if kind == "node" {
		list, err := a.nodes()
		if err != nil {
			return err
		}
		for _, n := range list {
			if name == "" || n.Metadata.Name == name {
				found = append(found, n)
			}
		}
	} else {
		objects := map[string]json.RawMessage{}
		if err := a.call("/standin/objects", nil, &objects); err != nil {
			return err
		}
		for k, o := range objects {
			wanted := key(kind, a.flags["n"], name)
			_, all := a.flags["all-namespaces"]
			if all && strings.HasPrefix(k, kind+"|") || name == "" && strings.HasPrefix(k, strings.TrimSuffix(wanted, name)) || k == wanted || k == key(kind, "", name) {
				found = append(found, o)
			}
		}
	}
	switch {
	case name != "" && len(found) == 0:
		if _, ok := a.flags["ignore-not-found"]; ok {
			return nil
		}
		return fmt.Errorf("error from server (NotFound): %ss %q not found", kind, name)
	case name != "":
		return print(a.flags["o"], found[0])
	}
	return print(a.flags["o"], map[string]any{"apiVersion": "v1", "kind": "List", "items": found})
}

// print knows -o json, yaml, name and jsonpath={.a.b}.
func print(format string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if path, ok := strings.CutPrefix(format, "jsonpath="); ok {
		value, err := field(raw, path)
		fmt.Print(value)
		return err
	}
	if format == "yaml" {
		if raw, err = yaml.JSONToYAML(raw); err != nil {
			return err
		}
	}
	fmt.Println(string(raw))
	return nil
}

// field reads a path like {.status.nodeInfo.kubeletVersion}.
func field(raw []byte, path string) (string, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", err
	}
	path = strings.ReplaceAll(strings.Trim(path, "{}."), `\.`, "\x00")
	for _, part := range strings.Split(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return "", fmt.Errorf("no field %s", path)
		}
		v = m[strings.ReplaceAll(part, "\x00", ".")]
	}
	if v == nil {
		return "", nil
	}
	return fmt.Sprint(v), nil
}

// wait knows --for=condition=X and --for=jsonpath={PATH}=VALUE of nodes, and
// --for=delete.
func (a *asked) wait() error {
	_, name := a.what(a.words[1:])
	limit, err := time.ParseDuration(a.flags["timeout"])
	if err != nil {
		return err
	}
	for end := time.Now().Add(limit); ; pause(a.ctx, 200*time.Millisecond) {
		ok, err := a.holds(name)
		if err != nil || ok {
			return err
		}
		if time.Now().After(end) || a.ctx.Err() != nil {
			return fmt.Errorf("timed out waiting for the condition on nodes/%s", name)
		}
	}
}

func (a *asked) holds(name string) (bool, error) {
	n, err := a.node(name)
	how := a.flags["for"]
	if how == "delete" {
		return err != nil && strings.Contains(err.Error(), "not found"), nil
	}
	if err != nil {
		return false, err
	}
	if c, ok := strings.CutPrefix(how, "condition="); ok {
		return n.is(c), nil
	}
	path, ok := strings.CutPrefix(how, "jsonpath=")
	path, want, there := strings.Cut(path, "}=")
	if !ok || !there {
		return false, fmt.Errorf("kubectl wait: the stand-in does not know --for=%s", how)
	}
	raw, err := json.Marshal(n)
	if err != nil {
		return false, err
	}
	value, err := field(raw, path)
	return value == strings.Trim(want, "'"), err
}

// drain cordons; what a PodDisruptionBudget protects stays, and is told.
func (a *asked) drain() error {
	var names []string
	if selector, ok := a.flags["selector"]; ok {
		list, err := a.nodes()
		if err != nil {
			return err
		}
		key, value, _ := strings.Cut(selector, "=")
		for _, n := range list {
			if n.Metadata.Labels[key] == value {
				names = append(names, n.Metadata.Name)
			}
		}
	} else if len(a.words) > 1 {
		names = a.words[1:]
	}
	for _, name := range names {
		if err := a.call("/standin/cordon", map[string]any{"Name": name, "Unschedulable": true}, nil); err != nil {
			return err
		}
		fmt.Printf("node/%s cordoned\n", name)
		objects := map[string]json.RawMessage{}
		if err := a.call("/standin/objects", nil, &objects); err != nil {
			return err
		}
		for k := range objects {
			if kind, rest, _ := strings.Cut(k, "|"); kind == "poddisruptionbudget" {
				return fmt.Errorf("error when evicting pods on %s: Cannot evict pod as it would violate the pod's disruption budget: %s: global timeout reached: %s", name, strings.ReplaceAll(rest, "|", "/"), a.flags["timeout"])
			}
		}
		fmt.Printf("node/%s drained\n", name)
	}
	return nil
}

func (a *asked) cordon(off bool) error {
	for _, name := range a.words[1:] {
		if err := a.call("/standin/cordon", map[string]any{"Name": name, "Unschedulable": off}, nil); err != nil {
			return err
		}
	}
	return nil
}

// delete knows KIND NAME..., and KIND[.GROUP]/NAME several times.
func (a *asked) delete() error {
	if len(a.words) < 2 {
		return errors.New("kubectl delete: say what")
	}
	for _, words := range eachOf(a.words[1:]) {
		kind, name := a.what(words)
		err := a.call("/standin/delete", question{kind, a.flags["n"], name}, nil)
		if _, ok := a.flags["ignore-not-found"]; ok && err != nil && strings.Contains(err.Error(), "not found") {
			continue
		}
		if err != nil {
			return err
		}
		fmt.Printf("%s %q deleted\n", kind, name)
	}
	return nil
}

// apply knows -f FILE, a folder, and - for standard input.
func (a *asked) apply() error {
	raw, err := io.ReadAll(os.Stdin)
	if f := a.flags["f"]; f != "-" {
		raw, err = nil, nil
		files := []string{f}
		if info, e := os.Stat(f); e == nil && info.IsDir() {
			files, err = filepath.Glob(f + "/*.yaml")
		}
		for _, f := range files {
			text, e := os.ReadFile(f)
			raw, err = append(append(raw, "\n---\n"...), text...), errors.Join(err, e)
		}
	}
	if err != nil {
		return err
	}
	for _, doc := range strings.Split("\n"+string(raw), "\n---") {
		body, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			return err
		}
		if string(body) == "null" {
			continue
		}
		var name string
		if err := a.call("/standin/apply", json.RawMessage(body), &name); err != nil {
			return err
		}
		fmt.Println(name + " serverside-applied")
	}
	return nil
}

// mark knows label and taint of a node: KEY=VALUE and KEY-.
func (a *asked) mark(what string) error {
	if len(a.words) < 4 || kindOf(a.words[1]) != "node" {
		return fmt.Errorf("kubectl %s: the stand-in knows node NAME and what to set", what)
	}
	err := a.call("/standin/"+what, change{Name: a.words[2], Words: a.words[3:]}, nil)
	if err == nil {
		fmt.Printf("node/%s %sed\n", a.words[2], what)
	}
	return err
}

// rollout knows status: it is complete when the object is there and a node is
// Ready.
func (a *asked) rollout() error {
	if len(a.words) < 3 || a.words[1] != "status" {
		return errors.New("kubectl rollout: the stand-in knows status")
	}
	kind, name := a.what(a.words[2:])
	objects := map[string]json.RawMessage{}
	if err := a.call("/standin/objects", nil, &objects); err != nil {
		return err
	}
	if _, ok := objects[key(kind, a.flags["n"], name)]; !ok {
		return fmt.Errorf("error from server (NotFound): %ss %q not found", kind, name)
	}
	list, err := a.nodes()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(n nodeObject) bool { return n.is("Ready") }) {
		return errors.New("no node is Ready")
	}
	fmt.Printf("%s %q successfully rolled out\n", kind, name)
	return nil
}
