package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// CatchUp fetches the images that another master has and this host lacks: those
// that were pushed while it was down, and those of cluster images that did not
// come here. It returns what it fetched. Blobs of an attempt before are gone on
// with. The error names what could not be fetched; masters that do not answer are
// none, they will be asked again.
func (s *Service) CatchUp(ctx context.Context) ([]Listed, error) {
	fetched, _, err := s.catchUp(ctx)
	return fetched, err
}

// catchUp is CatchUp that says whether all other masters answered.
func (s *Service) catchUp(ctx context.Context) (fetched []Listed, all bool, err error) {
	s.catching.Lock()
	defer s.catching.Unlock()
	theirs, all, err := s.theirs(ctx)
	if err != nil || len(theirs) == 0 {
		return nil, all, err
	}
	kept, err := OpenKept(s.dir)
	if err != nil {
		return nil, all, err
	}
	defer kept.Close()
	own, err := s.own.Images(ctx)
	if err != nil {
		return nil, all, err
	}
	var trouble error
	for _, l := range theirs {
		lacks, err := s.lacks(ctx, kept, l)
		if err == nil && lacks {
			if err = kept.Add(ctx, l, sources{own, remoteImages{s.peers, l}}); err == nil {
				fetched = append(fetched, l)
			}
		}
		if ctx.Err() != nil {
			return fetched, all, context.Cause(ctx)
		}
		if err != nil {
			trouble = errors.Join(trouble, fmt.Errorf("fetch %s from another master: %w", l.Name, err))
		}
	}
	return fetched, all, trouble
}

// theirs returns what other masters have, and whether all of them said it.
func (s *Service) theirs(ctx context.Context) (list []Listed, all bool, err error) {
	masters, err := s.peers.masters.read()
	if err != nil {
		return nil, false, err
	}
	lists, errs := make([][]Listed, len(masters)), make([]error, len(masters))
	var wg sync.WaitGroup
	for i, master := range masters {
		wg.Go(func() { lists[i], errs[i] = s.peers.listOf(ctx, master) })
	}
	wg.Wait()
	all = true
	for i, master := range masters {
		if errs[i] != nil {
			s.peers.masters.died(master)
			all = false
		}
	}
	list = slices.Concat(lists...)
	slices.SortStableFunc(list, func(a, b Listed) int { return a.Pushed.Compare(b.Pushed) })
	return list, all, ctx.Err()
}

// listOf asks one master what it has.
func (p *peers) listOf(ctx context.Context, master string) ([]Listed, error) {
	client, err := p.connection()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+master+listPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := p.readAll(ctx, resp, maxList)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("master %s answers %s", master, resp.Status)
	}
	if err != nil {
		return nil, err
	}
	var list []Listed
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("master %s: list of images: %w", master, err)
	}
	return list, nil
}

// lacks reports whether an image of another master is to be fetched.
func (s *Service) lacks(ctx context.Context, kept *Kept, l Listed) (bool, error) {
	if _, err := artifact.ParseReference(l.Name); err != nil || !artifact.IsSHA256(l.Desc.Digest) {
		return false, fmt.Errorf("another master calls an image %q: %w", l.Name, err)
	}
	list, err := kept.List()
	if err != nil {
		return false, err
	}
	for _, have := range list {
		if have.Name == l.Name {
			return newer(have, l), nil
		}
	}
	if !l.Pushed.IsZero() {
		return true, nil
	}
	own, err := s.own.Images(ctx)
	if err != nil {
		return false, err
	}
	for _, e := range own.Entries() {
		if e.Name == l.Name {
			return false, nil
		}
	}
	return true, nil
}

// remoteImages is a source of what one image consists of, on the masters.
type remoteImages struct {
	p     *peers
	image Listed
}

// Resolve implements artifact.Source.
func (r remoteImages) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return r.image.Desc, nil
}

// Open implements artifact.Source. Masters find manifests too as blobs.
func (r remoteImages) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	w := wanted{repo: ref.Path(), kind: "blobs", object: d.Digest.String(), query: url.Values{"ns": {ref.Domain()}}}
	size, err := r.p.size(ctx, w)
	if err != nil {
		return nil, err
	}
	if size != d.Size {
		return nil, fmt.Errorf("blob %s: the masters have %d bytes of it instead of %d", d.Digest, size, d.Size)
	}
	return newStream(ctx, r.p, w, d, offset), nil
}
