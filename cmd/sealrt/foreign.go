package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/export"
	"github.com/sealrt/sealrt/runtime"
)

// checkForeign refuses flags that do not go together.
func (f runFlags) checkForeign() error {
	switch {
	case f.kubeconfig == "" && f.registry == "":
		return nil
	case f.kubeconfig == "" || f.registry == "":
		return usageError{errors.New("run: --kubeconfig and --registry go together: the cluster, and the registry that it gets container images from")}
	case f.masters != "" || f.nodes != "" || len(f.podCIDR)+len(f.serviceCIDR) > 0:
		return usageError{errors.New("run: a cluster given by --kubeconfig is there already: --masters, --nodes and networks are for one that sealrt makes")}
	}
	return checkPrefix(f.registry)
}

// runForeign puts app images on a cluster that sealrt did not make. It has no
// hosts of it: images go to a registry, everything else happens here.
func runForeign(ctx context.Context, env *environment, f runFlags, args []string, kinds []runtime.Image, approved judged) error {
	if !appsAlone(kinds) {
		return usageError{fmt.Errorf("run: only app images are put on a cluster given by --kubeconfig: %s is a %s image", kinds[0].Ref.Familiar(), kinds[0].Kind.Type)}
	}
	settings, err := parseSettings(f.env)
	if err != nil {
		return err
	}
	s, err := openForeignCluster(env, f.kubeconfig)
	if err != nil {
		return err
	}
	defer s.close()
	var plan foreignPlan
	var apps []*foreignApp
	for n, arg := range args {
		app, err := s.openApp(ctx, arg, n, approved)
		if err != nil {
			return err
		}
		if err := knownSettings([]runtime.Image{app.image}, settings); err != nil {
			return err
		}
		app.record.Registry = strings.TrimSuffix(f.registry, "/")
		app.record.Settings = map[string]string{}
		if before := s.find(app.record.Name); before != nil {
			maps.Copy(app.record.Settings, before.Settings)
		}
		maps.Copy(app.record.Settings, settings)
		steps, err := app.install()
		if err != nil {
			return err
		}
		plan, apps = append(plan, steps...), append(apps, app)
	}
	if f.dryRun {
		return plan.print(env, f.output)
	}
	if err := plan.run(ctx, env); err != nil {
		return fmt.Errorf("run %s: %w\nmend the cause and run the same command again; or take it away with: sealrt uninstall %s --kubeconfig %s", args[0], err, kinds[0].Ref.Familiar(), f.kubeconfig)
	}
	for _, app := range apps {
		app.record.Brought = app.settled
		if err := s.put(app.record); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(env.stdout, f.kubeconfig)
	return err
}

// foreignStep is one thing that is done for a cluster that sealrt did not make.
type foreignStep struct {
	does string
	do   func(ctx context.Context) error
	may  bool // fail
}

type foreignPlan []foreignStep

// print prints the plan, as a dry run does.
func (p foreignPlan) print(env *environment, output string) error {
	if output == "json" {
		does := make([]string, len(p))
		for i, s := range p {
			does[i] = s.does
		}
		return printJSON(env, map[string][]string{"steps": does})
	}
	for _, s := range p {
		if _, err := fmt.Fprintln(env.stdout, s.does); err != nil {
			return err
		}
	}
	return nil
}

// run carries the plan out. All of it can be repeated.
func (p foreignPlan) run(ctx context.Context, env *environment) error {
	for _, s := range p {
		line, _, _ := strings.Cut(s.does, "\n")
		env.note("%s", line)
		err := s.do(ctx)
		if err != nil && s.may && ctx.Err() == nil {
			env.note("that failed, which does not matter here: %v", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

// foreignApp is an app image on its way to such a cluster.
type foreignApp struct {
	s      *foreignState
	arg    string
	image  runtime.Image
	pinned artifact.Reference
	src    artifact.Source
	record foreignRecord
	// settled is what of the app is in the cluster when all went well.
	settled []runtime.Object
}

// openApp reads what the plan needs of an image.
func (s *foreignState) openApp(ctx context.Context, arg string, n int, approved judged) (*foreignApp, error) {
	store, err := s.env.heldStore(ctx)
	if err != nil {
		return nil, err
	}
	a := &foreignApp{s: s, arg: arg}
	var ref artifact.Reference
	if ref, a.src, err = locate(ctx, s.env, store, arg); err != nil {
		return nil, err
	}
	if a.pinned, err = approved.still(ctx, a.src, n, ref); err != nil {
		return nil, err
	}
	versions, err := versionsOf(ctx, a.src, a.pinned, "")
	if err != nil {
		return nil, err
	}
	// commands run here: an image for one platform is taken as it is
	platform := forThisMachine(versions).config.Platform()
	if platform == nil {
		return nil, fmt.Errorf("%s: it does not say for which platform it is: build it again", arg)
	}
	if a.image, err = runtime.OpenImage(ctx, a.src, a.pinned, *platform); err != nil {
		return nil, err
	}
	a.image.Ref = ref
	a.record = foreignRecord{
		Name: ref.Name(), Ref: ref, Digest: a.image.Digest, Env: a.image.Env, Labels: a.image.Labels, Paths: kept(a.image).Paths, Programs: kept(a.image).Programs,
	}
	return a, nil
}

// install lists the steps that put the app on the cluster.
func (a *foreignApp) install() (foreignPlan, error) {
	view := runtime.RegistryView{Endpoint: "https://" + strings.SplitN(a.record.Registry, "/", 2)[0], Prefix: a.record.Registry}
	env, err := a.s.env.revealedSettings(a.record.Settings)
	if err != nil {
		return nil, err
	}
	rendered, err := runtime.RenderAlone(a.image, env, view)
	if err != nil {
		return nil, err
	}
	objects, err := a.objects(rendered, view)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(a.image.Paths, func(p string) bool { return strings.HasPrefix(p, "scripts/hooks/") }) {
		a.s.env.note("%s: its hooks run on hosts, and are not run here", a.image.Ref.Familiar())
	}
	dir := a.s.dirOf(a.record)
	plan := foreignPlan{}
	if len(a.image.Images) > 0 {
		plan = append(plan, foreignStep{does: a.pushText(view), do: a.push})
	}
	plan = append(plan, foreignStep{does: fmt.Sprintf("unpack %s to %s", a.image.Ref.Familiar(), dir), do: func(ctx context.Context) error {
		if err := a.unpack(ctx, dir); err != nil {
			return err
		}
		for name, text := range rendered {
			if err := writeBelow(filepath.Join(dir, renderedTree), name, text); err != nil {
				return err
			}
		}
		for _, o := range objects {
			if err := writeBelow(filepath.Join(dir, renderedTree), o.name, o.text); err != nil {
				return err
			}
		}
		return a.s.put(a.record)
	}})
	for _, o := range objects {
		file := filepath.Join(dir, renderedTree, o.name)
		plan = append(plan, a.s.kubectl(a.record, "apply", "--server-side", "--field-manager=sealrt", "-f", file))
	}
	gone, err := a.replace(objects)
	if err != nil {
		return nil, err
	}
	plan = append(plan, a.s.delete(a.record, gone)...)
	if len(a.image.Cmd) > 0 {
		plan = append(plan, a.s.command(a.record, a.image.Cmd))
	}
	old, err := a.s.retire(a.record)
	return append(plan, old...), err
}

// replace records what the app brings to the cluster, and returns what it, or the
// version before, brought and it does not bring any more.
func (a *foreignApp) replace(files []objectFile) ([]runtime.Object, error) {
	var brings, before []runtime.Object
	for _, f := range files {
		objects, err := runtime.ObjectsIn([]byte(f.text))
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", a.image.Ref.Familiar(), f.name, err)
		}
		for i := range objects {
			objects[i] = objects[i].In(a.s.namespace)
		}
		brings = runtime.Also(brings, objects)
	}
	if r := a.s.find(a.record.Name); r != nil {
		before = r.Brought
	}
	gone, left := runtime.Retired(before, brings, a.s.broughtByOthers(a.record))
	tellLeft(a.s.env, a.image, left)
	a.record.Brought, a.settled = runtime.Also(brings, before), runtime.Also(brings, left)
	return gone, nil
}

// objectFile is a file of Kubernetes objects as the cluster gets it.
type objectFile struct{ name, text string }

// objects returns the objects of the image with the names of images changed.
func (a *foreignApp) objects(rendered map[string]string, view runtime.RegistryView) ([]objectFile, error) {
	var out []objectFile
	for _, name := range a.image.Objects() {
		text, ok := rendered[strings.TrimSuffix(name, runtime.TemplateSuffix)]
		if !ok {
			raw, err := fs.ReadFile(a.image.Files, name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a.image.Ref.Familiar(), err)
			}
			text = string(raw)
		}
		raw, others, err := runtime.RewriteImages([]byte(text), a.image.Images, view)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", a.image.Ref.Familiar(), name, err)
		}
		for _, o := range others {
			a.s.env.note("%s: %s: the image %s is not inside: the cluster gets it where it gets images otherwise", a.image.Ref.Familiar(), name, o)
		}
		out = append(out, objectFile{strings.TrimSuffix(name, runtime.TemplateSuffix), string(raw)})
	}
	return out, nil
}

// pushText tells what is pushed, and under which names.
func (a *foreignApp) pushText(view runtime.RegistryView) string {
	text := fmt.Sprintf("push %d container images to %s", len(a.image.Images), view.Prefix)
	for _, name := range a.image.Images {
		if ref, err := artifact.ParseReference(name); err == nil {
			if to, err := export.Mapped(view.Prefix, ref); err == nil {
				text += "\n  " + name + " → " + to.String()
			}
		}
	}
	return text
}

// push pushes the container images for all platforms of the app image.
func (a *foreignApp) push(ctx context.Context) error {
	versions, err := versionsOf(ctx, a.src, a.pinned, "")
	if err != nil {
		return err
	}
	variants, _, err := toPush(ctx, a.s.env, a.arg, "", len(versions) > 1)
	if err != nil {
		return err
	}
	o := a.s.env.copyOptions()
	o.Attached = false // Push knows what is attached to the images inside
	return export.Push(ctx, a.s.env.registry(), variants, export.PushOptions{
		Prefix: a.record.Registry, AllPlatforms: len(versions) > 1, Copy: o,
		Note: func(text string) { a.s.env.note("%s", text) },
	})
}

// unpack writes the tree of the image without its container images, anew if an
// earlier attempt did.
func (a *foreignApp) unpack(ctx context.Context, dir string) error {
	digest, err := v1.NewHash(a.image.Digest)
	if err != nil {
		return err
	}
	_, manifest, config, err := artifact.Manifest(ctx, a.src, a.pinned.WithDigest(digest), nil)
	if err != nil {
		return err
	}
	few := *manifest
	few.Layers = slices.Clone(manifest.Layers)[:0]
	for i, l := range manifest.Layers {
		if !runtime.PacksImages(config, i) {
			few.Layers = append(few.Layers, l)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return artifact.Unpack(ctx, a.src, a.pinned, &few, filepath.Join(dir, "tree"), artifact.UnpackOptions{})
}

// writeBelow writes a file of an image's tree, and the directories above it.
func writeBelow(dir, name, text string) error {
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o600)
}
