package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Handler serves images as a registry that takes nothing in (OCI
// distribution-spec, "Endpoints": end-1 to end-3, end-8 and end-12). Repositories
// are called as in their own registries, docker.io/library/nginx is
// library/nginx; the query ns= names the registry, as containerd asks mirrors
// (its docs/hosts.md, "Registry Host Namespace"). Where nobody names it and
// several have a tag, the tag is not found. Of an index that is not whole the
// platforms that are here can be pulled.
func Handler(images layout.Images) http.Handler {
	refs := make([]artifact.Reference, len(images.Entries()))
	for i, e := range images.Entries() {
		name := e.Name
		if name == "" {
			name = e.Carried
		}
		if ref, err := artifact.ParseReference(name); err == nil {
			refs[i] = ref
		}
	}
	return &handler{images: images, entries: images.Entries(), refs: refs}
}

type handler struct {
	images  layout.Images
	entries []layout.Entry
	refs    []artifact.Reference // of the entries, zero for those without a name
}

// An answer is an error of the protocol (distribution-spec, "Error Codes").
type answer struct {
	status        int
	code, message string
}

func (a *answer) Error() string { return a.message }

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	err := h.serve(w, r)
	if err == nil {
		return
	}
	a := &answer{status: http.StatusInternalServerError, code: "UNKNOWN", message: err.Error()}
	errors.As(err, &a)
	body, err := json.Marshal(map[string]any{"errors": []map[string]string{{"code": a.code, "message": a.message}}})
	if err != nil {
		body = nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone does not mind
	}
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return &answer{http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry takes nothing in"}
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if r.URL.Path == "/v2" || ok && path == "" {
		return send(w, r, "application/json", []byte("{}"))
	}
	parts := strings.Split(path, "/")
	if !ok || len(parts) < 3 {
		return &answer{http.StatusNotFound, "UNSUPPORTED", "no such endpoint"}
	}
	repo, kind, object := strings.Join(parts[:len(parts)-2], "/"), parts[len(parts)-2], parts[len(parts)-1]
	known := h.repository(repo, r.URL.Query().Get("ns"))
	if len(known) == 0 {
		return &answer{http.StatusNotFound, "NAME_UNKNOWN", "there is no repository " + repo}
	}
	switch {
	case kind == "manifests":
		return h.manifest(w, r, known, object)
	case kind == "blobs":
		return h.blob(w, r, object)
	case kind == "tags" && object == "list":
		return h.tags(w, r, repo, known)
	case kind == "referrers":
		return h.referrers(w, r, object)
	}
	return &answer{http.StatusNotFound, "UNSUPPORTED", "no such endpoint"}
}

// repository returns the entries of a repository: called as in its registry, ns,
// or with that in front.
func (h *handler) repository(repo, ns string) []int {
	var known []int
	for i, ref := range h.refs {
		if ref.IsZero() {
			continue
		}
		if ref.Path() == repo && (ns == "" || ref.Domain() == ns) || ref.Name() == repo {
			known = append(known, i)
		}
	}
	return known
}

// manifest sends what a tag or digest names.
func (h *handler) manifest(w http.ResponseWriter, r *http.Request, known []int, object string) error {
	var d v1.Descriptor
	var err error
	if strings.Contains(object, ":") {
		d, err = h.pinned(r, object)
	} else {
		d, err = h.tagged(known, object)
	}
	if err != nil {
		return err
	}
	b, err := artifact.ReadManifest(r.Context(), h.images, artifact.Reference{}, d)
	if err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", d.Digest.String())
	w.Header().Set("ETag", `"`+d.Digest.String()+`"`)
	return send(w, r, string(d.MediaType), b)
}

// tagged returns what the tag of a repository names.
func (h *handler) tagged(known []int, tag string) (v1.Descriptor, error) {
	var found []v1.Descriptor
	for _, i := range known {
		if h.refs[i].Tag() == tag && (len(found) == 0 || found[0].Digest != h.entries[i].Desc.Digest) {
			found = append(found, h.entries[i].Desc)
		}
	}
	switch len(found) {
	case 0:
		return v1.Descriptor{}, &answer{http.StatusNotFound, "MANIFEST_UNKNOWN", "there is no tag " + tag}
	case 1:
		return found[0], nil
	}
	return v1.Descriptor{}, &answer{http.StatusNotFound, "MANIFEST_UNKNOWN", "several registries have the tag " + tag + ": say which with ?ns="}
}

// pinned returns the manifest that has a digest.
func (h *handler) pinned(r *http.Request, object string) (v1.Descriptor, error) {
	digest, size, err := h.stat(r, object, "MANIFEST_UNKNOWN")
	if err != nil {
		return v1.Descriptor{}, err
	}
	if size > artifact.MaxManifest {
		return v1.Descriptor{}, &answer{http.StatusNotFound, "MANIFEST_UNKNOWN", object + " is no manifest"}
	}
	d, err := h.images.Resolve(r.Context(), artifact.Reference{}.WithDigest(digest))
	if err != nil {
		return v1.Descriptor{}, &answer{http.StatusNotFound, "MANIFEST_UNKNOWN", err.Error()}
	}
	return d, nil
}

// stat looks a blob up; unknown is the code for one that is not here.
func (h *handler) stat(r *http.Request, object, unknown string) (v1.Hash, int64, error) {
	digest, err := v1.NewHash(object)
	if err != nil || layout.Check(v1.Descriptor{Digest: digest}) != nil {
		return v1.Hash{}, 0, &answer{http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("%q is no sha256 digest", object)}
	}
	size, err := h.images.BlobSize(r.Context(), digest)
	if errors.Is(err, artifact.ErrNotFound) {
		err = &answer{http.StatusNotFound, unknown, digest.String() + " is not here"}
	}
	return digest, size, err
}

// blob sends a blob, or the range of it that is asked for.
func (h *handler) blob(w http.ResponseWriter, r *http.Request, object string) error {
	digest, size, err := h.stat(r, object, "BLOB_UNKNOWN")
	if err != nil {
		return err
	}
	content := layout.NewSeeker(r.Context(), h.images, artifact.Reference{}, v1.Descriptor{Digest: digest, Size: size})
	defer content.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", digest.String())
	w.Header().Set("ETag", `"`+digest.String()+`"`)
	http.ServeContent(w, r, "", time.Time{}, content)
	return nil
}

// tags lists the tags of a repository, those after last= and at most n= of them.
func (h *handler) tags(w http.ResponseWriter, r *http.Request, repo string, known []int) error {
	list := []string{}
	for _, i := range known {
		if tag := h.refs[i].Tag(); tag != "" {
			list = append(list, tag)
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	query := r.URL.Query()
	if last := query.Get("last"); last != "" {
		list = slices.DeleteFunc(list, func(tag string) bool { return tag <= last })
	}
	if n, err := strconv.Atoi(query.Get("n")); err == nil && n >= 0 && n < len(list) {
		if list = list[:n]; n > 0 {
			query.Set("last", list[n-1])
			next := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
			w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
		}
	}
	return sendJSON(w, r, "application/json", map[string]any{"name": repo, "tags": list})
}

// referrers lists the manifests that say that they are about a digest.
func (h *handler) referrers(w http.ResponseWriter, r *http.Request, object string) error {
	digest, err := v1.NewHash(object)
	if err != nil {
		return &answer{http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("%q is no digest", object)}
	}
	list := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	for _, e := range h.entries {
		if e.Name != "" {
			continue
		}
		about, err := layout.ReadSubject(r.Context(), h.images, e.Desc)
		if err != nil {
			return err
		}
		if about.Subject != nil && about.Subject.Digest == digest {
			d := layout.Bare(e.Desc)
			d.ArtifactType, d.Annotations = about.ArtifactType, about.Annotations
			list.Manifests = append(list.Manifests, d)
		}
	}
	return sendJSON(w, r, string(types.OCIImageIndex), list)
}

// send sends a document.
func send(w http.ResponseWriter, r *http.Request, contentType string, b []byte) error {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if r.Method == http.MethodHead {
		return nil
	}
	_, _ = io.Copy(w, bytes.NewReader(b)) // a client that is gone does not mind
	return nil
}

func sendJSON(w http.ResponseWriter, r *http.Request, contentType string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return send(w, r, contentType, b)
}
