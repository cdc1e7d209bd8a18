package runtime

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/depot"
	"github.com/sealrt/sealrt/runtime/host"
)

// Load brings an image to the host: only the blobs which the host lacks are
// sent, and its tree appears at Image.Rootfs, mounted at every boot.
type Load struct {
	Ref    string
	Digest string
	Rootfs string
}

// Feed streams the container images of an image that was loaded, as an archive,
// into the standard input of a command on the host, which keeps them below Into.
// With File there is no command: the archive becomes that file, whole or not at
// all. Tarballs, which the author of the image left in images/, follow one by
// one.
type Feed struct {
	Image    string // digest of the manifest
	Tarballs []string
	Names    []string // of the container images that are handed on; none: all
	Docker   bool     // the archive is for docker load
	Argv     []string
	Env      []string
	File     string // absolute
	Into     string
}

// Install copies files of a directory of the image's tree into a directory of
// the host. A file that exists there already and is not ours is an error. The
// copies share nothing with the tree: who writes into a program in place, as
// cp does, must not change what other images have, and nothing that the host
// needs at boot may hang on a mount.
type Install struct {
	Rootfs string
	From   string // relative to Rootfs
	Names  []string
	To     string // absolute
}

// Drop removes from the host what the images do not need once it is installed:
// other images, layers that are unpacked, and, with Handed, the container images
// that the container runtime has.
type Drop struct {
	Images []string // digests of the manifests in use
	Handed bool
}

func (a Load) String() string {
	return fmt.Sprintf("load %s (%s) into %s", a.Ref, short(a.Digest), a.Rootfs)
}

func (a Feed) String() string {
	s := "feed the container images of " + short(a.Image)
	if len(a.Names) > 0 {
		s = fmt.Sprintf("feed %s of %s", words(a.Names), short(a.Image))
	}
	for _, t := range a.Tarballs {
		s += ", images/" + t
	}
	if a.File != "" {
		return s + " to " + a.File
	}
	return s + " to " + words(a.Argv)
}

func (a Install) String() string {
	return fmt.Sprintf("install %s of %s to %s", words(a.Names), path.Join(a.Rootfs, a.From), a.To)
}

func (a Drop) String() string {
	var names []string
	for _, d := range a.Images {
		names = append(names, short(d))
	}
	s := "drop what " + strings.Join(names, ", ") + " need not"
	if a.Handed {
		s += ", container images too"
	}
	return s
}

// unitFile is where a unit of ours lies.
func unitFile(unit string) string {
	if !strings.HasSuffix(unit, ".mount") {
		unit += ".service"
	}
	return path.Join(depot.UnitDir, unit)
}

// mountAt is the footprint of a tree that is mounted.
func mountAt(dir string) footprint {
	unit := depot.UnitName(dir)
	return footprint{Units: []string{unit}, Paths: []string{unitFile(unit), dir}}
}

func (a Load) footprint() footprint { return mountAt(a.Rootfs) }
func (Drop) footprint() footprint   { return footprint{} }

// claim notes where the tree really is: a unit's name says it without links.
func (a Load) claim(ctx context.Context, t *target, f *footprint) error {
	home, err := t.homeLink(ctx)
	if err != nil {
		return err
	}
	if home != "" {
		*f = mountAt(home + strings.TrimPrefix(a.Rootfs, Home))
		f.Paths = append(f.Paths, a.Rootfs) // the same by the name that plans have for it
	}
	return t.foreign(ctx, f.Paths[:1])
}

// The host says that it adopted the image.
func (a Load) holds(ctx context.Context, t *target) (bool, error) {
	out, err := host.Output(ctx, t.Host, HelperPath, "host", "adopt", "--check", a.Digest)
	if _, exited := exitCode(err); exited {
		return false, nil
	}
	return strings.TrimSpace(string(out)) == a.Digest, err
}

func (a Load) apply(ctx context.Context, t *target) error {
	set, err := t.engine.sets.of(ctx, t.engine.Images, a.Ref, a.Digest)
	if err != nil {
		return err
	}
	t.engine.offer(ctx, a.Digest, set)
	p, count := t.peer()
	defer count()
	if err := t.engine.swarm.Bring(ctx, p, set); err != nil {
		return err
	}
	return t.adopt(ctx, set.Listing)
}

// Files are the archives that come to lie on the host: none, where a command
// reads them.
func (a Feed) Files() []string {
	if a.File == "" {
		return nil
	}
	files := []string{a.File}
	for _, name := range a.Tarballs {
		files = append(files, depot.Beside(a.File, name))
	}
	return files
}

func (a Feed) footprint() footprint {
	var f footprint
	for _, file := range a.Files() {
		f.Paths = append(f.Paths, file, depot.Unfinished(file))
	}
	return f
}

func (a Feed) claim(ctx context.Context, t *target, f *footprint) (err error) {
	if a.File == "" {
		return nil
	}
	if f.Dirs, err = t.newDirs(ctx, path.Dir(a.File)); err != nil {
		return err
	}
	return t.foreign(ctx, f.Paths)
}

func (a Feed) apply(ctx context.Context, t *target) error {
	argv := []string{HelperPath, "host", "feed", a.Image}
	if a.Docker {
		argv = append(argv, "--format", string(depot.FormatDocker))
	}
	for _, name := range a.Names {
		argv = append(argv, "--name", name)
	}
	if a.File != "" {
		argv = append(argv, "--file", a.File)
	} else {
		argv = slices.Concat(argv, []string{"--"}, a.Argv)
	}
	if err := t.work(ctx, host.Command{Argv: argv, Env: a.Env}); err != nil {
		return err
	}
	if a.Into == "" {
		return nil
	}
	return t.flush(ctx, a.Into)
}

func (a Drop) argv(flags ...string) []string {
	argv := slices.Concat([]string{HelperPath, "host", "drop"}, flags)
	if a.Handed {
		argv = append(argv, "--handed")
	}
	return append(argv, a.Images...)
}

// The host says nothing when it has nothing to remove.
func (a Drop) holds(ctx context.Context, t *target) (bool, error) {
	out, err := host.Output(ctx, t.Host, a.argv("--check")...)
	if _, exited := exitCode(err); exited {
		return false, nil
	}
	return err == nil && strings.TrimSpace(string(out)) == "", err
}

func (a Drop) apply(ctx context.Context, t *target) error {
	return t.work(ctx, host.Command{Argv: a.argv()})
}

// tidy drops, on each of the members, what its images do not need any more. A
// node does without the blobs of container images that its container runtime
// has, when masters serve them.
func (r *Runtime) tidy(members []Member) Plan {
	var images []string
	for _, i := range slices.Concat(r.cluster.Images, r.cluster.Beside) {
		images = append(images, i.Digest)
	}
	_, mirrors := r.driver.(Mirrorer)
	served := mirrors && r.cluster.Registry.External == "" && !r.cluster.Registry.Script
	var tasks []Task
	for _, m := range members {
		drop := Drop{Images: images, Handed: served && m.Role == Node}
		tasks = append(tasks, Task{Member: m, Steps: []Step{{ID: "drop", Do: drop}}})
	}
	return Plan{Phases: []Phase{{Name: "tidy", Tasks: tasks}}}
}

// paths lists the files that Install makes.
func (a Install) paths() []string {
	out := make([]string, len(a.Names))
	for i, n := range a.Names {
		out[i] = path.Join(a.To, n)
	}
	return out
}

// unfinished is the name of a copy until it is whole.
func (a Install) unfinished(name string) string { return path.Join(a.To, "."+name+".sealrt") }

func (a Install) footprint() footprint {
	f := footprint{Paths: a.paths()}
	for _, n := range a.Names {
		f.Paths = append(f.Paths, a.unfinished(n))
	}
	return f
}

func (a Install) apply(ctx context.Context, t *target) error {
	if err := t.Run(ctx, host.Command{Argv: []string{"mkdir", "-p", a.To}}); err != nil {
		return err
	}
	for _, n := range a.Names {
		// a copy beside its place and a rename: a program that runs is
		// replaced, never written into
		tmp := a.unfinished(n)
		for _, argv := range [][]string{
			{"cp", "-a", path.Join(a.Rootfs, a.From, n), tmp},
			{"mv", "-f", tmp, path.Join(a.To, n)},
		} {
			if err := t.Run(ctx, host.Command{Argv: argv}); err != nil {
				return err
			}
		}
	}
	// the ledger must not know of files that a power failure then empties
	return t.Run(ctx, host.Command{Argv: slices.Concat([]string{"sync"}, a.paths(), []string{a.To})})
}
