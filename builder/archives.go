package builder

import (
	"context"
	"fmt"
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/find"
	"github.com/sealrt/sealrt/artifact/airgap/transport"
	"github.com/sealrt/sealrt/artifact/layer"
)

// archives are the tarballs of container images that an author put into images/.
type archives struct {
	names   []string // in the tree
	images  []airgap.Image
	sources []artifact.Source
	first   map[artifact.Reference]held // by the name of an image
}

// held is an image in a tarball.
type held struct {
	digest v1.Hash
	in     string // the tarball
}

// archives looks into the tarballs of the tree that this Kubefile put there. Those of the base image are as its author
// wanted them.
func (s *baseStep) archives(ctx context.Context, w *work, p v1.Platform) (found archives, err error) {
	found.first = map[artifact.Reference]held{}
	if s.list != "" {
		return found, nil
	}
	o, err := s.findOptions(w)
	if err != nil {
		return found, err
	}
	names, err := find.Archives(treeFS{w.image.tree}, o)
	if err != nil {
		return found, err
	}
	for _, name := range names {
		if w.image.holder(name) < 0 {
			continue
		}
		if err := found.add(ctx, w, name, p, o); err != nil {
			return found, err
		}
	}
	return found, nil
}

// add looks into one tarball.
func (a *archives) add(ctx context.Context, w *work, name string, p v1.Platform, o find.Options) error {
	n := w.image.tree.node(name)
	w.task.work()
	place, err := w.places.get("tarball "+p.String()+" "+w.tarballKey(n.Entry), func() (transport.Place, error) {
		return transport.Tarball(ctx, name, n.Open, w.placeOptions(p))
	})
	if err != nil {
		return fmt.Errorf("%w: take it out of images/, or name it in .imageignore to keep it as it is", err)
	}
	refs, err := place.Refs(ctx)
	if err != nil {
		return err
	}
	a.names, a.sources = append(a.names, name), append(a.sources, place)
	ignored, err := find.Ignored(treeFS{w.image.tree}, o)
	if err != nil {
		return err
	}
	for _, r := range refs {
		if ignored(r.Ref) {
			continue
		}
		a.images = append(a.images, airgap.Image{Ref: r.Ref, Where: name})
		other, known := a.first[r.Ref]
		if !known {
			a.first[r.Ref] = held{r.Desc.Digest, name}
		} else if other.digest != r.Desc.Digest {
			w.tell(Event{Kind: BuildWarning, Text: fmt.Sprintf("%s has another %s than %s, which is taken: remove one of them", name, r.Ref.Familiar(), other.in)})
		}
	}
	return nil
}

// tarballKey tells tarballs apart: by their content where that is known without reading it.
func (w *work) tarballKey(e *layer.Entry) string {
	if e.Version != "" {
		return e.Version
	}
	return fmt.Sprintf("%s %s", w.stage.target, e.Name)
}

// isArchive says whether BASE would take the file apart.
func isArchive(e *layer.Entry) bool { return e.Mode.IsRegular() && find.IsArchive(e.Name) }

// apart takes the archives out of the files of an instruction: each is a layer of its own with the directories that
// hold it, which goes when BASE has taken the archive apart. Directories that hold nothing else go with the archive.
func apart(entries []layer.Entry) (archives [][]layer.Entry, others []layer.Entry) {
	if !slices.ContainsFunc(entries, func(e layer.Entry) bool { return isArchive(&e) }) {
		return nil, entries
	}
	dirs, used := map[string]*layer.Entry{}, map[string]bool{}
	for i := range entries {
		if e := &entries[i]; e.Mode.IsDir() {
			dirs[e.Name] = e
		}
	}
	for i := range entries {
		e := &entries[i]
		if !isArchive(e) {
			continue
		}
		g := &grouping{}
		g.add(e, dirs)
		inOrder(g.list)
		archives = append(archives, g.list)
		for _, held := range g.list {
			used[held.Name] = true
		}
	}
	needed := map[string]bool{}
	for i := range entries {
		if e := &entries[i]; !used[e.Name] {
			for dir := e.Name; dir != "."; dir = path.Dir(dir) {
				needed[dir] = true
			}
		}
	}
	return archives, slices.DeleteFunc(slices.Clone(entries), func(e layer.Entry) bool { return !needed[e.Name] })
}

// holder returns the number of the uppermost layer of this Kubefile that holds name, -1 when it is one of the base.
func (m *image) holder(name string) int {
	for i, entries := range slices.Backward(m.holds) {
		if slices.ContainsFunc(entries, func(e layer.Entry) bool { return e.Name == name }) {
			return i
		}
	}
	return -1
}

// dropArchives removes files, which are in layers of this Kubefile, as if they had never been there.
func (w *work) dropArchives(ctx context.Context, names []string) error {
	m := w.image
	gone := func(e layer.Entry) bool { return slices.Contains(names, e.Name) }
	for i := len(m.layers) - 1; i >= 0; i-- {
		if !slices.ContainsFunc(m.holds[i], gone) {
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(m.holds[i]), gone)
		for j := range rest { // a layer that was read back has files of that name
			if isWhiteout(rest[j].Name) {
				rest[j] = layer.Entry{Name: rest[j].Name}
			}
		}
		if !slices.ContainsFunc(rest, func(e layer.Entry) bool { return !e.Mode.IsDir() }) {
			m.removeLayer(i)
			continue
		}
		p := w.writeFiles(ctx, rest)
		p.once.Do(p.begin)
		m.layers[i], m.holds[i] = p, rest
	}
	for _, name := range names {
		dir, base := splitName(name)
		delete(m.tree.node(dir).children, base)
	}
	return nil
}

// removeLayer removes a layer, and what the history says of it unless the instruction made others.
func (m *image) removeLayer(i int) {
	m.layers, m.holds = slices.Delete(m.layers, i, i+1), slices.Delete(m.holds, i, i+1)
	layers := -1
	for n, h := range m.config.History {
		if !h.EmptyLayer {
			layers++
		}
		if layers != i {
			continue
		}
		if n > 0 && m.config.History[n-1].CreatedBy == h.CreatedBy || n+1 < len(m.config.History) && m.config.History[n+1].CreatedBy == h.CreatedBy {
			m.config.History = slices.Delete(m.config.History, n, n+1)
		} else {
			m.config.History[n].EmptyLayer = true
		}
		return
	}
}
