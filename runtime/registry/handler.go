package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/export"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

const (
	// smallBlob is the size in bytes up to which a blob is passed on when all
	// of it has come.
	smallBlob = 256 << 10
	// maxList bounds lists of tags and referrers.
	maxList = 8 << 20
)

// handler answers what runtimes ask: from what is here, else from the masters.
type handler struct {
	local Local
	peers *peers // nil: what is not here is not found
	// wide has lists made by the masters, who have everything.
	wide bool

	mu     sync.Mutex
	images layout.Images // that here serves
	here   http.Handler
}

// Handler serves what a place has, and nothing else, as [export.Handler] does;
// what is there may change. Beside it, every blob and manifest is found by its
// digest in every repository, and /v2/_catalog lists the repositories.
func Handler(local Local) http.Handler { return &handler{local: local} }

// now returns what is here, and what serves it.
func (h *handler) now(ctx context.Context) (layout.Images, http.Handler, error) {
	images, err := h.local.Images(ctx)
	if err != nil {
		return nil, nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.here == nil || h.images != images {
		h.images, h.here = images, export.Handler(images)
	}
	return images, h.here, nil
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	images, here, err := h.now(r.Context())
	if err != nil { // the masters may have what cannot be read here
		images, here = nothing{}, export.Handler(nothing{})
	}
	want, ok := parse(r.URL)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		here.ServeHTTP(w, r)
	case r.URL.Path == "/v2/_catalog":
		catalog(w, r, images)
	case !ok:
		here.ServeHTTP(w, r)
	case want.kind == "blobs":
		h.blob(w, r, images, want)
	default:
		h.document(w, r, images, here, want)
	}
}

// parse reads the path of a request for something in a repository.
func parse(u *url.URL) (wanted, bool) {
	path, ok := strings.CutPrefix(u.Path, "/v2/")
	parts := strings.Split(path, "/")
	if !ok || len(parts) < 3 {
		return wanted{}, false
	}
	n := len(parts)
	w := wanted{repo: strings.Join(parts[:n-2], "/"), kind: parts[n-2], object: parts[n-1], query: u.Query()}
	switch w.kind {
	case "manifests", "blobs", "referrers":
		return w, true
	case "tags":
		return w, w.object == "list"
	}
	return wanted{}, false
}

// blob sends a blob, whatever repository it is asked of.
func (h *handler) blob(w http.ResponseWriter, r *http.Request, images layout.Images, want wanted) {
	ctx := r.Context()
	digest, err := v1.NewHash(want.object)
	if err != nil || !artifact.IsSHA256(digest) {
		refuse(w, r, http.StatusBadRequest, "DIGEST_INVALID", strconv.Quote(want.object)+" is no sha256 digest")
		return
	}
	d := v1.Descriptor{Digest: digest}
	if d.Size, err = images.BlobSize(ctx, digest); err == nil {
		content := layout.NewSeeker(ctx, images, artifact.Reference{}, d)
		defer content.Close()
		sendBlob(w, r, digest, content)
		return
	}
	if h.peers == nil {
		failed(w, r, "BLOB_UNKNOWN", err)
		return
	}
	if d.Size, err = h.peers.size(ctx, want); err != nil {
		failed(w, r, "BLOB_UNKNOWN", err)
		return
	}
	if d.Size <= smallBlob && r.Method == http.MethodGet {
		_, body, err := h.peers.document(ctx, want, smallBlob)
		if err != nil {
			failed(w, r, "BLOB_UNKNOWN", err)
			return
		}
		sendBlob(w, r, digest, bytes.NewReader(body))
		return
	}
	// what goes wrong from here on shows as an answer that ends too early
	content := layout.NewSeeker(ctx, remoteBlob{h.peers, want}, artifact.Reference{}, d)
	defer content.Close()
	sendBlob(w, r, digest, content)
}

// document sends a manifest or a list.
func (h *handler) document(w http.ResponseWriter, r *http.Request, images layout.Images, here http.Handler, want wanted) {
	pinned := want.kind == "manifests" && strings.Contains(want.object, ":")
	if pinned && manifestHere(w, r, images, want.object) {
		return
	}
	_, err := v1.NewHash(want.object)
	if h.peers == nil || pinned && err != nil { // not a digest: no master is asked
		here.ServeHTTP(w, r)
		return
	}
	// the masters know all tags and signatures of a repository
	widely := h.wide && want.kind != "manifests"
	if !widely && answered(w, r, here) {
		return
	}
	limit := int64(maxList)
	if want.kind == "manifests" {
		limit = artifact.MaxManifest
	}
	header, body, err := h.peers.document(r.Context(), want, limit)
	if err != nil && widely && answered(w, r, here) {
		return
	}
	if err != nil {
		unknown := "MANIFEST_UNKNOWN"
		if want.kind == "tags" {
			unknown = "NAME_UNKNOWN"
		}
		failed(w, r, unknown, err)
		return
	}
	for _, name := range []string{"Content-Type", "Docker-Content-Digest", "Etag", "Link"} {
		if v := header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	send(w, r, body)
}

// manifestHere sends a manifest that is here, whatever repository it is asked of,
// and reports whether it did.
func manifestHere(w http.ResponseWriter, r *http.Request, images layout.Images, object string) bool {
	digest, err := v1.NewHash(object)
	if err != nil || !artifact.IsSHA256(digest) {
		return false
	}
	if size, err := images.BlobSize(r.Context(), digest); err != nil || size > artifact.MaxManifest {
		return false
	}
	d, err := images.Resolve(r.Context(), artifact.Reference{}.WithDigest(digest))
	if err != nil {
		return false
	}
	body, err := artifact.ReadManifest(r.Context(), images, artifact.Reference{}, d)
	if err != nil { // damaged: a master has a good one
		return false
	}
	w.Header().Set("Content-Type", string(d.MediaType))
	w.Header().Set("Docker-Content-Digest", digest.String())
	w.Header().Set("ETag", strconv.Quote(digest.String()))
	send(w, r, body)
	return true
}

// answered has what is here answer, unless it does not have what is asked for.
func answered(w http.ResponseWriter, r *http.Request, here http.Handler) bool {
	try := &trial{ResponseWriter: w, header: http.Header{}}
	here.ServeHTTP(try, r)
	try.WriteHeader(http.StatusOK) // an answer to HEAD may have no body
	return !try.missed
}

// trial passes an answer on unless it says that something is not here.
type trial struct {
	http.ResponseWriter
	header http.Header
	began  bool
	missed bool
}

// Header implements http.ResponseWriter.
func (t *trial) Header() http.Header { return t.header }

// WriteHeader implements http.ResponseWriter.
func (t *trial) WriteHeader(status int) {
	if t.began {
		return
	}
	t.began = true
	if t.missed = status >= http.StatusInternalServerError || status == http.StatusNotFound; t.missed {
		return
	}
	for name, values := range t.header {
		t.ResponseWriter.Header()[name] = values
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (t *trial) Write(b []byte) (int, error) {
	if t.WriteHeader(http.StatusOK); t.missed {
		return len(b), nil
	}
	return t.ResponseWriter.Write(b)
}

// sendBlob sends a blob, or the range of it that is asked for.
func sendBlob(w http.ResponseWriter, r *http.Request, digest v1.Hash, content io.ReadSeeker) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", digest.String())
	w.Header().Set("ETag", strconv.Quote(digest.String()))
	http.ServeContent(w, r, "", time.Time{}, content)
}

// send sends a document, the headers of which are set.
func send(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone does not mind
	}
}

// failed sends why something cannot be sent; unknown is the code of the protocol
// for what is not there (distribution-spec, "Error Codes").
func failed(w http.ResponseWriter, r *http.Request, unknown string, err error) {
	switch {
	case errors.Is(err, artifact.ErrNotFound):
		refuse(w, r, http.StatusNotFound, unknown, err.Error())
	case errors.Is(err, errSilent):
		w.Header().Set("Retry-After", "5")
		refuse(w, r, http.StatusServiceUnavailable, "UNAVAILABLE", err.Error())
	default:
		refuse(w, r, http.StatusInternalServerError, "UNKNOWN", err.Error())
	}
}

func refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	body, err := json.Marshal(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
	if err != nil {
		body = nil
	}
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone does not mind
	}
}

// catalog lists the repositories that are here, with their registries, those
// after last= and at most n= of them.
func catalog(w http.ResponseWriter, r *http.Request, images layout.Images) {
	list := []string{}
	for _, e := range images.Entries() {
		if ref, err := artifact.ParseReference(e.Name); err == nil {
			list = append(list, ref.Name())
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	query := r.URL.Query()
	if last := query.Get("last"); last != "" {
		list = slices.DeleteFunc(list, func(name string) bool { return name <= last })
	}
	if n, err := strconv.Atoi(query.Get("n")); err == nil && n > 0 && n < len(list) {
		list = list[:n]
		query.Set("last", list[n-1])
		next := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
		w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	}
	body, err := json.Marshal(map[string][]string{"repositories": list})
	if err != nil {
		failed(w, r, "UNKNOWN", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	send(w, r, body)
}
