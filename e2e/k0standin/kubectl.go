package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
	do    func(path string, ask, out any) error
}

// switches are the flags of kubectl without a value.
var switches = strings.Fields("server-side force-conflicts ignore-not-found ignore-daemonsets delete-emptydir-data force no-headers overwrite") //nolint:gochecknoglobals // a table that nothing changes

func kubectl(ctx context.Context, args []string) error {
	a := &asked{flags: map[string]string{"n": "default"}}
	for i := 0; i < len(args); i++ {
		name, dashed := strings.CutPrefix(args[i], "-")
		if !dashed || name == "" {
			a.words = append(a.words, args[i])
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		if !given && !slices.Contains(switches, name) && i+1 < len(args) {
			i++
			value = args[i]
		}
		if name == "namespace" {
			name = "n"
		}
		a.flags[name] = value
	}
	server, secret, err := admin(a.flags["kubeconfig"])
	if err != nil {
		return err
	}
	client := newClient()
	a.do = func(path string, ask, out any) error {
		err := call(ctx, client, server+path, secret, ask, out)
		var no *refusal
		if errors.As(err, &no) {
			return fmt.Errorf("error from server (%s): %w", http.StatusText(no.code), err)
		}
		return err
	}
	if path, ok := a.flags["raw"]; ok {
		return raw(ctx, client, server+path, secret)
	}
	if len(a.words) == 0 {
		return errors.New("kubectl: a command is missing")
	}
	verb := a.words[0]
	a.words = a.words[1:]
	switch verb {
	case "get":
		return a.get()
	case "wait":
		return a.wait(ctx)
	case "delete":
		return a.delete()
	case "apply":
		return a.apply()
	case "rollout":
		return a.rollout()
	case "drain":
		return a.drain()
	case "cordon", "uncordon", "label", "taint":
		return a.mark(verb)
	}
	return fmt.Errorf("kubectl: the stand-in does not know %q", verb)
}

func raw(ctx context.Context, client *http.Client, url, secret string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		return fmt.Errorf("error from server: %s", text)
	}
	fmt.Print(string(text))
	return err
}

// of returns the objects that words name: KIND, KIND NAME..., KIND/NAME...; all of
// a kind have no name.
func (a *asked) of(words []string) [][2]string {
	var out [][2]string
	for i, w := range words {
		kind, name, slash := strings.Cut(w, "/")
		switch {
		case slash:
			out = append(out, [2]string{kind, name})
		case i > 0:
			out = append(out, [2]string{words[0], w})
		case len(words) == 1:
			out = append(out, [2]string{w, ""})
		}
	}
	return out
}

// find returns the objects of a kind, or the one of a name.
func (a *asked) find(kind, name string) ([]json.RawMessage, error) {
	var list, out []json.RawMessage
	if err := a.do("/kube/list?kind="+url.QueryEscape(kind), nil, &list); err != nil {
		return nil, err
	}
	wanted := key(kind, a.flags["n"], name)
	for _, o := range list {
		var is object
		if err := json.Unmarshal(o, &is); err != nil {
			return nil, err
		}
		if is.Metadata.Namespace == "" {
			is.Metadata.Namespace = "default"
		}
		if k := key(kind, is.Metadata.Namespace, is.Metadata.Name); k == wanted || name == "" && strings.HasPrefix(k, wanted) {
			out = append(out, o)
		}
	}
	if name != "" && len(out) == 0 {
		return nil, fmt.Errorf("error from server (NotFound): %ss %q not found", kindOf(kind), name)
	}
	return out, nil
}

func (a *asked) get() error {
	if len(a.words) == 0 {
		return errors.New("kubectl get: say what")
	}
	what := a.of(a.words)[0]
	found, err := a.find(what[0], what[1])
	if _, may := a.flags["ignore-not-found"]; may && err != nil && strings.Contains(err.Error(), "not found") {
		return nil
	}
	if err != nil {
		return err
	}
	var doc any = map[string]any{"apiVersion": "v1", "kind": "List", "items": found}
	if what[1] != "" {
		doc = found[0]
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	format := a.flags["o"]
	if path, ok := strings.CutPrefix(format, "jsonpath="); ok {
		value, err := field(text, path)
		fmt.Print(value)
		return err
	}
	if format == "yaml" {
		if text, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
	}
	fmt.Println(string(text))
	return nil
}

// field reads a path like {.status.nodeInfo.kubeletVersion}.
func field(raw []byte, path string) (string, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", err
	}
	path = strings.ReplaceAll(strings.Trim(path, "{}."), `\.`, "\x00")
	for part := range strings.SplitSeq(path, ".") {
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

// wait knows --for=condition=NAME[=VALUE], --for=jsonpath={PATH}=VALUE and
// --for=delete.
func (a *asked) wait(ctx context.Context) error {
	limit, err := time.ParseDuration(a.flags["timeout"])
	if err != nil {
		return err
	}
	what := a.of(a.words)[0]
	for end := time.Now().Add(limit); ; pause(ctx, 200*time.Millisecond) {
		ok, err := a.holds(what, a.flags["for"])
		if err != nil || ok {
			return err
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("timed out waiting for the condition on %ss/%s", kindOf(what[0]), what[1])
		}
	}
}

func (a *asked) holds(what [2]string, how string) (bool, error) {
	found, err := a.find(what[0], what[1])
	if how == "delete" {
		return err != nil && strings.Contains(err.Error(), "not found"), nil
	}
	if err != nil {
		return false, err
	}
	if path, ok := strings.CutPrefix(how, "jsonpath="); ok {
		path, want, _ := strings.Cut(path, "}=")
		value, err := field(found[0], path)
		return value == want, err
	}
	name, ok := strings.CutPrefix(how, "condition=")
	if !ok {
		return false, fmt.Errorf("kubectl wait: the stand-in does not know --for=%s", how)
	}
	name, value, given := strings.Cut(name, "=")
	if !given {
		value = "True"
	}
	var is object
	if err := json.Unmarshal(found[0], &is); err != nil {
		return false, err
	}
	return slices.Contains(is.Status.Conditions, condition{name, value}), nil
}

func (a *asked) delete() error {
	for _, what := range a.of(a.words) {
		err := a.do("/kube/delete", question{Kind: what[0], Namespace: a.flags["n"], Name: what[1]}, nil)
		if _, may := a.flags["ignore-not-found"]; may && err != nil && strings.Contains(err.Error(), "not found") {
			continue
		}
		if err != nil {
			return err
		}
		fmt.Printf("%s %q deleted\n", kindOf(what[0]), what[1])
	}
	return nil
}

// apply knows -f FILE, a folder, and - for standard input.
func (a *asked) apply() error {
	var text []byte
	var err error
	switch f := a.flags["f"]; f {
	case "-":
		text, err = io.ReadAll(os.Stdin)
	default:
		files := []string{f}
		if info, e := os.Stat(f); e == nil && info.IsDir() {
			files, err = filepath.Glob(f + "/*.yaml")
		}
		for _, f := range files {
			part, e := os.ReadFile(f)
			text, err = append(append(text, "\n---\n"...), part...), errors.Join(err, e)
		}
	}
	if err != nil {
		return err
	}
	for doc := range strings.SplitSeq("\n"+string(text), "\n---") {
		body, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			return err
		}
		if string(body) == "null" {
			continue
		}
		var name string
		if err := a.do("/kube/apply", json.RawMessage(body), &name); err != nil {
			return err
		}
		fmt.Println(name + " serverside-applied")
	}
	return nil
}

// rollout knows status: it is complete when the object is there and a node is
// Ready.
func (a *asked) rollout() error {
	if len(a.words) < 2 || a.words[0] != "status" {
		return errors.New("kubectl rollout: the stand-in knows status")
	}
	what := a.of(a.words[1:])[0]
	if _, err := a.find(what[0], what[1]); err != nil {
		return err
	}
	nodes, err := a.find("node", "")
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if strings.Contains(string(n), `{"type":"Ready","status":"True"}`) {
			fmt.Printf("%s %q successfully rolled out\n", what[0], what[1])
			return nil
		}
	}
	return errors.New("no node is Ready")
}

// drain cordons; what a PodDisruptionBudget protects stays, and is told.
func (a *asked) drain() error {
	names := a.words
	if selector, ok := a.flags["selector"]; ok {
		name, value, _ := strings.Cut(selector, "=")
		nodes, err := a.find("node", "")
		if err != nil {
			return err
		}
		for _, n := range nodes {
			var is object
			if err := json.Unmarshal(n, &is); err != nil {
				return err
			}
			if is.Metadata.Labels[name] == value {
				names = append(names, is.Metadata.Name)
			}
		}
	}
	for _, name := range names {
		if err := a.do("/kube/node", question{Name: name, Verb: "cordon"}, nil); err != nil {
			return err
		}
		a.flags["n"] = ""
		var budgets []json.RawMessage
		if err := a.do("/kube/list?kind=poddisruptionbudget", nil, &budgets); err != nil {
			return err
		}
		if len(budgets) > 0 {
			return fmt.Errorf("error when evicting pods on %s: Cannot evict pod as it would violate the pod's disruption budget: global timeout reached: %s", name, a.flags["timeout"])
		}
		fmt.Printf("node/%s drained\n", name)
	}
	return nil
}

// mark knows cordon and uncordon NAME..., label and taint node NAME and what to
// set.
func (a *asked) mark(verb string) error {
	names, words := a.words, []string(nil)
	if verb == "label" || verb == "taint" {
		if len(a.words) < 3 || kindOf(a.words[0]) != "node" {
			return fmt.Errorf("kubectl %s: the stand-in knows node NAME and what to set", verb)
		}
		names, words = a.words[1:2], a.words[2:]
	}
	for _, name := range names {
		if err := a.do("/kube/node", question{Name: name, Verb: verb, Words: words}, nil); err != nil {
			return err
		}
		fmt.Printf("node/%s %sed\n", name, verb)
	}
	return nil
}
