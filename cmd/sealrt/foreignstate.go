package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/state"
)

// renderedTree is, beside the tree of an app image, what templates became and
// the objects as the cluster got them.
const renderedTree = "rendered"

// foreignRecord is an app on a cluster that sealrt did not make.
type foreignRecord struct {
	Name     string             `json:"name"` // the repository
	Ref      artifact.Reference `json:"ref"`
	Digest   string             `json:"digest"`
	Registry string             `json:"registry"`
	Env      []string           `json:"env,omitempty"`
	Labels   map[string]string  `json:"labels,omitempty"`
	Settings map[string]string  `json:"settings,omitempty"`
	Paths    []string           `json:"paths,omitempty"`
	Programs []string           `json:"programs,omitempty"`
	Brought  []runtime.Object   `json:"brought,omitempty"` // in the cluster
}

// foreignState is the client's folder of such a cluster: what sealrt put there.
type foreignState struct {
	*state.Folder
	env        *environment
	kubeconfig string // absolute
	namespace  string // of objects that name none; "" is the default one
	apps       []foreignRecord
}

// foreignFile lists the apps of such a cluster.
const foreignFile = "apps.json"

// openForeignCluster opens the folder of the cluster that a kubeconfig leads to, and
// locks it. Clusters are told apart by the address of their API.
func openForeignCluster(env *environment, kubeconfig string) (*foreignState, error) {
	abs, err := filepath.Abs(kubeconfig)
	if err != nil {
		return nil, err
	}
	server, namespace, err := serverOf(abs)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(server))
	folder, err := env.openFolder(filepath.Join(env.home, ".sealrt", "foreign"), hex.EncodeToString(sum[:8]))
	if err != nil {
		return nil, err
	}
	s := &foreignState{Folder: folder, env: env, kubeconfig: abs, namespace: namespace}
	raw, err := os.ReadFile(s.Path(foreignFile))
	if err == nil {
		err = json.Unmarshal(raw, &s.apps)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.close()
		return nil, fmt.Errorf("%s: %w", s.Path(foreignFile), err)
	}
	return s, nil
}

func (s *foreignState) close() { s.Close() }

// serverOf returns the address of the API that a kubeconfig leads to, and the
// namespace that it chooses
// (https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/).
func serverOf(kubeconfig string) (server, namespace string, err error) {
	raw, err := os.ReadFile(kubeconfig)
	if err != nil {
		return "", "", fmt.Errorf("--kubeconfig: %w", err)
	}
	var k struct {
		Current  string `json:"current-context"`
		Contexts []struct {
			Name    string
			Context struct{ Cluster, Namespace string }
		}
		Clusters []struct {
			Name    string
			Cluster struct{ Server string }
		}
	}
	if err := yaml.Unmarshal(raw, &k); err != nil {
		return "", "", fmt.Errorf("--kubeconfig %s: %w", kubeconfig, err)
	}
	for _, ctx := range k.Contexts {
		for _, c := range k.Clusters {
			if ctx.Name == k.Current && c.Name == ctx.Context.Cluster && c.Cluster.Server != "" {
				return c.Cluster.Server, ctx.Context.Namespace, nil
			}
		}
	}
	return "", "", fmt.Errorf("--kubeconfig %s: its current context names no cluster: kubectl config use-context chooses one", kubeconfig)
}

func (s *foreignState) find(name string) *foreignRecord {
	for i := range s.apps {
		if s.apps[i].Name == name {
			return &s.apps[i]
		}
	}
	return nil
}

// put records an app. Another version of it stays in the record's folder until
// retire.
func (s *foreignState) put(r foreignRecord) error {
	s.apps = append(slices.DeleteFunc(s.apps, func(o foreignRecord) bool { return o.Name == r.Name }), r)
	return s.save()
}

func (s *foreignState) save() error {
	raw, err := json.MarshalIndent(s.apps, "", "  ")
	if err != nil {
		return err
	}
	return disk.Replace(s.Path(foreignFile), int64(len(raw)), func(w io.Writer) error {
		_, err := w.Write(append(raw, '\n'))
		return err
	})
}

// dirOf is where the tree of an app is kept, so that it can be taken away when
// the image is not at hand.
func (s *foreignState) dirOf(r foreignRecord) string {
	return filepath.Join(s.Path("apps"), strings.TrimPrefix(r.Digest, "sha256:")[:16])
}

// retire removes the trees of versions that were there before.
func (s *foreignState) retire(r foreignRecord) (foreignPlan, error) {
	dirs, err := os.ReadDir(s.Path("apps"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var plan foreignPlan
	for _, d := range dirs {
		dir := filepath.Join(s.Path("apps"), d.Name())
		needed := func(o foreignRecord) bool { return o.Name != r.Name && s.dirOf(o) == dir }
		if dir != s.dirOf(r) && !slices.ContainsFunc(s.apps, needed) {
			plan = append(plan, foreignStep{does: "remove " + dir, do: func(context.Context) error { return os.RemoveAll(dir) }})
		}
	}
	return plan, nil
}

// variables are the environment of what runs for an app: this process's, the
// image's, the settings, and where things are.
func (s *foreignState) variables(r foreignRecord) []string {
	dir := s.dirOf(r)
	vars := map[string]string{}
	for _, kv := range slices.Concat(os.Environ(), r.Env) {
		k, v, _ := strings.Cut(kv, "=")
		vars[k] = v
	}
	path := s.env.getenv("PATH")
	settings, _ := s.env.revealedSettings(r.Settings) // who installs is told; what is taken away needs none
	maps.Copy(vars, settings)
	maps.Copy(vars, map[string]string{
		"KUBECONFIG": s.kubeconfig, "PATH": filepath.Join(dir, "tree", "bin") + string(filepath.ListSeparator) + path,
		"SEALRT_REGISTRY": r.Registry, "SEALRT_ROOTFS": filepath.Join(dir, "tree"), "SEALRT_RENDERED": filepath.Join(dir, renderedTree),
	})
	out := make([]string, 0, len(vars))
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		out = append(out, k+"="+vars[k])
	}
	return out
}

// command runs a command of an app here, in its tree. What it prints is part of
// the story.
func (s *foreignState) command(r foreignRecord, argv []string) foreignStep {
	return foreignStep{does: "run " + strings.Join(argv, " "), do: func(ctx context.Context) error {
		vars := s.variables(r)
		return runProgram(ctx, filepath.Join(s.dirOf(r), "tree"), vars, argv, s.env.stderr, s.env.stderr)
	}}
}

// kubectl runs the image's own kubectl, or the one in PATH.
func (s *foreignState) kubectl(r foreignRecord, args ...string) foreignStep {
	return s.command(r, slices.Concat([]string{"kubectl", "--kubeconfig", s.kubeconfig}, args))
}

// delete deletes objects of an app, the last first.
func (s *foreignState) delete(r foreignRecord, objects []runtime.Object) foreignPlan {
	var plan foreignPlan
	for _, d := range runtime.Deletions(objects) {
		step := s.kubectl(r, d.Args...)
		step.may = d.Follow
		plan = append(plan, step)
	}
	return plan
}

// broughtByOthers lists what other apps brought to the cluster.
func (s *foreignState) broughtByOthers(r foreignRecord) []runtime.Object {
	var out []runtime.Object
	for _, o := range s.apps {
		if o.Name != r.Name {
			out = append(out, o.Brought...)
		}
	}
	return out
}

// uninstallForeign takes an app away from a cluster that sealrt did not make.
func uninstallForeign(ctx context.Context, env *environment, f uninstallFlags, name string) error {
	s, err := openForeignCluster(env, f.kubeconfig)
	if err != nil {
		return err
	}
	defer s.close()
	var images []runtime.Image
	for _, r := range s.apps {
		images = append(images, runtime.Image{Ref: r.Ref, Digest: r.Digest, Labels: r.Labels, Paths: r.Paths, Programs: r.Programs})
	}
	app, err := appCalled(images, name)
	if err != nil {
		return fmt.Errorf("the cluster of %s: %w", f.kubeconfig, err)
	}
	r := *s.find(app.Ref.Name())
	argv, err := app.Uninstaller()
	if err != nil {
		return err
	}
	var plan foreignPlan
	if len(argv) > 0 {
		plan = append(plan, s.command(r, argv))
	}
	objects := slices.DeleteFunc(slices.Clone(r.Brought), func(o runtime.Object) bool { return slices.Contains(s.broughtByOthers(r), o) })
	tellWhatGoes(env, app, objects)
	plan = append(plan, s.delete(r, objects)...)
	plan = append(plan, foreignStep{does: "forget " + r.Ref.Familiar(), do: func(context.Context) error {
		s.apps = slices.DeleteFunc(s.apps, func(o foreignRecord) bool { return o.Name == r.Name })
		return errors.Join(s.save(), os.RemoveAll(s.dirOf(r)))
	}})
	if f.dryRun {
		return plan.print(env, f.output)
	}
	if err := confirm(env, f.yes, fmt.Sprintf("take %s away from the cluster of %s", r.Ref.Familiar(), f.kubeconfig)); err != nil {
		return err
	}
	if err := plan.run(ctx, env); err != nil {
		return fmt.Errorf("uninstall %s: %w\nmend the cause and run the same command again", r.Ref.Familiar(), err)
	}
	env.note("container images of %s stay in %s", r.Ref.Familiar(), r.Registry)
	return nil
}
