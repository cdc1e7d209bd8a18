package lint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/sealrt/sealrt/artifact"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// testRegistry is called REG in lists and findings.
type testRegistry struct{ *registrytest.Registry }

// say writes a finding in one line: "state image (properties) where: why". The registry is "REG".
func (r testRegistry) say(f Finding) string {
	var props []string
	for _, p := range []struct {
		is   bool
		name string
	}{{f.Held, "held"}, {f.Floats, "floats"}, {f.AnyPlatform, "any"}, {f.Digest.Hex != "", "digest"}} {
		if p.is {
			props = append(props, p.name)
		}
	}
	text := fmt.Sprintf("%s %s (%s) %s", f.State, f.Image, strings.Join(props, " "), strings.Join(f.Where, " "))
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return strings.ReplaceAll(text, r.Host, "REG")
}

// parse reads a list in which REG is the registry.
func (r testRegistry) parse(t *testing.T, name, text string) []airgap.Image {
	t.Helper()
	images, err := airgap.ParseList(name, strings.NewReader(strings.ReplaceAll(text, "REG", r.Host)))
	if err != nil {
		t.Fatal(err)
	}
	return images
}

func (r testRegistry) held(t *testing.T, where string, names ...string) []Held {
	t.Helper()
	var held []Held
	for _, img := range r.parse(t, where, strings.Join(names, "\n")) {
		held = append(held, Held{Ref: img.Ref, Where: where})
	}
	return held
}

// isImageList is what package find says of the names in these tests.
func isImageList(file string) bool { return strings.HasSuffix(file, "imageList") }

func TestLint(t *testing.T) {
	r := testRegistry{registrytest.New(t)}
	arm64 := v1.Platform{OS: "linux", Architecture: "arm64"}
	one := r.Push(t, "one:1", registrytest.Image(t, amd64, 10, "one"))
	r.Push(t, "any:1", registrytest.Image(t, v1.Platform{}, 10, "any"))
	r.Push(t, "arm:1", registrytest.Image(t, arm64, 10, "arm"))
	r.Push(t, "arms:1", mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: registrytest.Image(t, arm64, 10, "arm"), Descriptor: v1.Descriptor{Platform: &arm64},
	}))
	pinned := "REG/one:1@" + one.String()
	_, badLine := airgap.ParseList("manifests/imageList", strings.NewReader("\nUpper:1\n-x\n"))
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	gone := strings.TrimPrefix(closed.URL, "http://")

	for name, c := range map[string]struct {
		list   string
		bad    error
		change func(*Options)
		want   []string
	}{
		"nothing": {},
		"floating, pinned, and asked for twice": {
			list: "REG/one:1\n" + pinned,
			want: []string{"found REG/one:1 (floats digest) manifests/imageList:1", "found " + pinned + " (digest) manifests/imageList:2"},
		},
		"a lock lets nothing float": {
			list: "REG/one:1", change: func(o *Options) { o.Pinned = true },
			want: []string{"found REG/one:1 (digest) manifests/imageList:1"},
		},
		"all that is wrong at once": {
			list: "REG/no:1\nREG/arm:1\nREG/arms:1\nREG/any:1\n" + gone + "/x:1",
			want: []string{
				"missing REG/no:1 (floats) manifests/imageList:1: not found",
				"wrong platform REG/arm:1 (floats digest) manifests/imageList:2: the image is for linux/arm64, linux/amd64 is wanted",
				"wrong platform REG/arms:1 (floats digest) manifests/imageList:3: platform linux/amd64: not found: the image is for linux/arm64",
				"found REG/any:1 (floats any digest) manifests/imageList:4",
				"unreachable " + gone + "/x:1 (floats) manifests/imageList:5: cannot be reached",
			},
		},
		"the platform of the line counts": {
			list: "--platform=linux/arm64 REG/arms:1\n--platform=linux/amd64 REG/one:1\nREG/one:1",
			want: []string{"found REG/arms:1 (floats digest) manifests/imageList:1", "found REG/one:1 (floats digest) manifests/imageList:2 manifests/imageList:3"},
		},
		"platforms that exclude each other": {
			list: "--platform=linux/arm64 REG/arms:1\n--platform=linux/s390x REG/arms:1",
			want: []string{
				"bad  () manifests/imageList:2: manifests/imageList:2: REG/arms:1 is asked for on linux/s390x, but on linux/arm64",
				"found REG/arms:1 (floats digest) manifests/imageList:1 manifests/imageList:2",
			},
		},
		"places that cannot be read": {
			list: "REG/one:1", bad: errors.Join(badLine, errors.Join(errors.New("charts/x/templates/a.yaml:7: no value"), errors.New("charts/y: no chart"), errors.New("look for archives: no"))),
			want: []string{
				`bad Upper:1 () manifests/imageList:2: image reference "Upper:1"`,
				"bad -x () manifests/imageList:3: unknown option -x",
				"bad  () charts/x/templates/a.yaml:7: charts/x/templates/a.yaml:7: no value",
				"bad  () charts/y: charts/y: no chart",
				"bad  () : look for archives: no",
				"found REG/one:1 (floats digest) manifests/imageList:1",
			},
		},
		"lines that repeat": {
			list: "REG/one:1\n\nREG/one:1",
			want: []string{
				"found REG/one:1 (floats digest) manifests/imageList:1 manifests/imageList:3",
				"repeated REG/one:1 () manifests/imageList:3 manifests/imageList:1",
			},
		},
		"what the tree has": {
			list: pinned + "\nREG/any:1",
			change: func(o *Options) {
				o.Held = append(r.held(t, "images/index.json", "REG/one@"+one.String(), "REG/one@sha256:"+strings.Repeat("b", 64), "REG/old:1", "REG/one:sha256-"+one.Hex+".sig"),
					r.held(t, "images/a.tar", "other:2")...)
			},
			want: []string{
				"found " + pinned + " (held) manifests/imageList:1", "found REG/any:1 (floats any digest) manifests/imageList:2",
				"superfluous REG/old:1 (held) images/index.json", "superfluous other:2 (held) images/a.tar",
			},
		},
		"nobody is asked": {
			list: "REG/no:1", change: func(o *Options) { o.Source = nil },
			want: []string{"unchecked REG/no:1 (floats) manifests/imageList:1"},
		},
		"what the distribution needs": {
			list: "REG/any:1\nREG/mirror/k8s/pause:3.10",
			change: func(o *Options) {
				o.Source = nil
				o.Held = r.held(t, "images/index.json", "quay.io/k0s/coredns:1.11", "REG/extra:1")
				o.Ignored = func(ref artifact.Reference) bool { return ref.Familiar() == "registry.k8s.io/unwanted:1" }
				o.Needs = []Needs{
					{By: "bin/kubeadm", Images: r.parse(t, "bin/kubeadm", "registry.k8s.io/pause:3.10\nregistry.k8s.io/etcd:3.5\nregistry.k8s.io/coredns/coredns:1.11\nregistry.k8s.io/unwanted:1")},
					{By: "etc/list", Images: r.parse(t, "etc/list", "registry.k8s.io/etcd:3.5")},
					{By: "bin/kubeadm", Optional: true, Images: r.parse(t, "bin/kubeadm", "REG/extra:1\nREG/other:1")},
				}
			},
			want: []string{
				"unchecked REG/any:1 (floats) manifests/imageList:1", "unchecked REG/mirror/k8s/pause:3.10 (floats) manifests/imageList:2",
				"forgotten registry.k8s.io/etcd:3.5 () bin/kubeadm:2: registry.k8s.io/etcd:3.5: the distribution needs it",
				"found quay.io/k0s/coredns:1.11 (held) images/index.json", "found REG/extra:1 (held) images/index.json",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Source: airgaptest.Registry(), Platform: amd64, IsList: isImageList}
			if c.change != nil {
				c.change(&o)
			}
			findings, err := Images(t.Context(), r.parse(t, "manifests/imageList", c.list), c.bad, o)
			if err != nil {
				t.Fatal(err)
			}
			if len(findings) != len(c.want) {
				t.Errorf("%d findings, %d wanted", len(findings), len(c.want))
			}
			for i, f := range findings {
				if i >= len(c.want) || !begins(r.say(f), c.want[i]) {
					t.Errorf("%q", r.say(f))
				}
			}
		})
	}
}

// begins reports whether got is want, where what follows the first ": " of want need only be somewhere in got.
func begins(got, want string) bool {
	row, why, wrong := strings.Cut(want, ": ")
	return strings.HasPrefix(got, row) && (len(got) == len(row) || wrong) && strings.Contains(got, why)
}

// cupboard is a place with the images of a registry, under other names.
type cupboard struct {
	artifact.Source
	refs []artifact.Named
	err  error
}

func (s cupboard) Refs(context.Context) ([]artifact.Named, error) { return s.refs, s.err }

func TestLintLooksIntoNamedPlaces(t *testing.T) {
	r := testRegistry{registrytest.New(t)}
	r.Push(t, "one:1", registrytest.Image(t, amd64, 10, "one"))
	src := airgaptest.Registry()
	all := cupboard{Source: src}
	for _, img := range r.parse(t, "", "REG/one:1\nREG/no:1") {
		all.refs = append(all.refs, artifact.Named{Ref: img.Ref})
	}
	places := map[string]airgap.Place{"oci:all": all, "oci:odd": cupboard{err: errors.New("what is this?")}}
	opened := map[string]int{}
	needs := []Needs{{By: "k3s-images.txt", Images: r.parse(t, "k3s-images.txt", "REG/no:1")}}
	o := Options{Platform: amd64, Needs: needs, Place: func(_ context.Context, from string) (airgap.Place, error) {
		opened[from]++
		if p := places[from]; p != nil {
			return p, nil
		}
		return nil, fmt.Errorf("%s: no such place", from)
	}}
	named := r.parse(t, "list", "\nREG/one:1")
	named[0].From = "oci:all"
	images := append([]airgap.Image{{From: "oci:all", Where: "list:1"}, {From: "oci:odd", Where: "list:3"}, {From: "oci:gone", Where: "list:4"}}, named...)
	images = append(images, airgap.Image{Ref: named[0].Ref, Where: "list:5"}) // which the place has
	findings, err := Images(t.Context(), images, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range findings {
		got = append(got, r.say(f))
	}
	want := []string{
		"bad  () list:3: list:3: oci:odd: what is this?", "bad  () list:4: list:4: oci:gone: oci:gone: no such place",
		"found REG/one:1 (floats digest) list:1 list:2 list:5", "missing REG/no:1 (floats) list:1: ",
	}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || !begins(got[3], want[3]) {
		t.Errorf("%q", got)
	}
	if opened["oci:all"] != 1 {
		t.Errorf("the place was opened %d times", opened["oci:all"])
	}
}

func TestLintReadsWhatTheTreeHasThere(t *testing.T) {
	r := testRegistry{registrytest.New(t)}
	r.Push(t, "one:1", registrytest.Image(t, amd64, 10, "one"))
	r.Push(t, "arm:1", registrytest.Image(t, v1.Platform{OS: "linux", Architecture: "arm64"}, 10, "one"))
	held := r.held(t, "images/a.tar", "REG/one:1", "REG/arm:1")
	for i := range held {
		held[i].Source = airgaptest.Registry()
	}
	findings, err := Images(t.Context(), r.parse(t, "list", "REG/one:1"), nil, Options{Platform: amd64, Held: held[:2]})
	if err != nil || len(findings) != 2 || r.say(findings[0]) != "found REG/one:1 (held floats digest) list:1" ||
		!begins(r.say(findings[1]), "wrong platform REG/arm:1 (held digest) images/a.tar: the image is for") {
		t.Errorf("%+v, %v", findings, err)
	}
	findings, err = Images(t.Context(), nil, nil, Options{Platform: amd64, Held: held[:1]})
	if err != nil || len(findings) != 1 || r.say(findings[0]) != "superfluous REG/one:1 (held digest) images/a.tar" {
		t.Errorf("%+v, %v", findings, err)
	}
}

func TestLintFetchesNoLayers(t *testing.T) {
	r := testRegistry{registrytest.New(t)}
	img := registrytest.Image(t, amd64, 10, "layer")
	r.Push(t, "one:1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Images(t.Context(), r.parse(t, "list", "REG/one:1"), nil, Options{Source: airgaptest.Registry(), Platform: amd64}); err != nil {
		t.Fatal(err)
	}
	if gets := r.Fetched(); gets[digest.String()] != 0 || len(gets) == 0 {
		t.Errorf("fetched %v", gets)
	}
}

func TestLintTellsWhyARegistryIsOfNoUse(t *testing.T) {
	for status, want := range map[int]State{
		http.StatusUnauthorized: StateRefused, http.StatusForbidden: StateRefused, http.StatusNotFound: StateMissing, http.StatusNotImplemented: StateUnreadable,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/v2/" {
				return
			}
			w.WriteHeader(status)
			io.WriteString(w, "{}")
		}))
		r := testRegistry{&registrytest.Registry{Host: strings.TrimPrefix(server.URL, "http://")}}
		findings, err := Images(t.Context(), r.parse(t, "list", "REG/one:1"), nil, Options{Source: airgaptest.Registry(), Platform: amd64})
		server.Close()
		if err != nil || len(findings) != 1 || findings[0].State != want || findings[0].Severity() != Wrong {
			t.Errorf("status %d: %+v, %v", status, findings, err)
		}
	}
}

func TestLintEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	r := testRegistry{registrytest.New(t)}
	if _, err := Images(ctx, r.parse(t, "list", "REG/one:1"), nil, Options{Source: airgaptest.Registry(), Platform: amd64}); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}
