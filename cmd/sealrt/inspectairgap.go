package main

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/find"
	"github.com/sealrt/sealrt/artifact/airgap/proof"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder"
)

// proofJSON is what inspect --airgap prints.
type proofJSON struct {
	Ref       string             `json:"ref"`
	Platforms []platformProof    `json:"platforms"`
	ref       artifact.Reference // as the user typed it
}

// platformProof is the proof of the image for one platform.
type platformProof struct {
	Platform string        `json:"platform"`
	Digest   string        `json:"digest"`                 // of the cluster image's manifest
	Index    string        `json:"imagesDigest,omitempty"` // of images/index.json
	Blobs    int           `json:"blobs"`                  // that were compared
	Bytes    int64         `json:"bytes"`                  // of these
	Images   []provenJSON  `json:"images"`
	Defects  []defectsJSON `json:"defects"`
}

// provenJSON is one reference inside.
type provenJSON struct {
	Name     string   `json:"name"`
	Digest   string   `json:"digest"`
	Size     int64    `json:"size"`
	Complete bool     `json:"complete"`
	Where    []string `json:"askedFor,omitempty"` // file:line in the tree
}

// defectsJSON is one thing that is not as it has to be.
type defectsJSON struct {
	Name  string   `json:"name,omitempty"`
	Where []string `json:"askedFor,omitempty"`
	What  string   `json:"what"`
	Next  string   `json:"next"`
}

// inspectAirgap proves a cluster image and prints the proof; defects are an
// error.
func inspectAirgap(ctx context.Context, env *environment, arg string, asJSON bool) error {
	report, defects, err := proveImage(ctx, env, arg)
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(env, report)
	} else {
		err = report.print(env)
	}
	if err != nil || len(defects) == 0 {
		return err
	}
	return fmt.Errorf("%s is not whole, %d defects:\n  %s", report.ref.Familiar(), len(defects), strings.Join(defects, "\n  "))
}

// proveImage proves an image for every platform that is here, and returns the
// defects as lines too.
func proveImage(ctx context.Context, env *environment, arg string) (*proofJSON, []string, error) {
	ref, src, err := openImage(ctx, env, arg)
	if err != nil {
		return nil, nil, err
	}
	versions, err := versionsOf(ctx, src, ref, "")
	if err != nil {
		return nil, nil, err
	}
	report := &proofJSON{Ref: ref.Familiar(), ref: ref}
	var lines []string
	for _, v := range versions {
		search := newTreeSearch(env, v.config)
		found, err := proof.Of(ctx, src, ref, v.manifest, v.config, proof.Options{Needs: search.images})
		if err != nil {
			return nil, nil, err
		}
		if store, ok := src.(*store.Store); ok {
			more, err := distroDefects(ctx, env, store, ref.WithDigest(v.desc.Digest), found, search)
			if err != nil {
				return nil, nil, err
			}
			found.Defects = append(found.Defects, more...)
		}
		report.Platforms = append(report.Platforms, asPlatformProof(v, found))
		for _, d := range found.Defects {
			lines = append(lines, v.platform()+": "+d.String())
		}
	}
	return report, lines, nil
}

// distroDefects compares what is inside with what the distribution says it needs.
func distroDefects(ctx context.Context, env *environment, store *store.Store, ref artifact.Reference, found *proof.Result, search *treeSearch) ([]proof.Defect, error) {
	needs, notes, err := builder.DistroNeeds(ctx, builder.Options{Store: store}, ref, nil)
	if err != nil {
		return nil, err
	}
	for _, text := range notes {
		env.note("%s", text)
	}
	var have []artifact.Reference
	for _, p := range found.References {
		if r, err := artifact.ParseReference(p.Name); err == nil {
			have = append(have, r)
		}
	}
	var defects []proof.Defect
	for _, need := range needs {
		if need.Optional {
			continue
		}
		for _, img := range need.Lacking(have) {
			if search.ignored == nil || !search.ignored(img.Ref) {
				defects = append(defects, proof.Defect{Name: img.Ref.String(), Where: []string{img.Where}, What: "the distribution needs it, and it is not inside",
					Next: "add it to manifests/imageList and build again, or name it in .imageignore"})
			}
		}
	}
	return defects, nil
}

// treeSearch finds the images that a cluster image's tree asks for.
type treeSearch struct {
	o       find.Options
	ignored func(artifact.Reference) bool // whether the tree names an image as one that it need not have; nil until the tree is known
}

func (s *treeSearch) images(ctx context.Context, tree fs.FS) ([]airgap.Image, error) {
	s.ignored, _ = find.Ignored(tree, s.o) // Images tells what is wrong with the file
	return find.Images(ctx, tree, s.o)
}

func newTreeSearch(env *environment, config *v1.ConfigFile) *treeSearch {
	o := find.Options{Env: map[string]string{}, Note: func(text string) { env.note("%s", text) }}
	if kind := artifact.KindOf(config); kind.Distro != "" {
		o.KubeVersion, _, _ = strings.Cut(kind.Version, "+")
	}
	for _, variable := range config.Config.Env {
		name, value, _ := strings.Cut(variable, "=")
		o.Env[name] = value
	}
	return &treeSearch{o: o}
}

func asPlatformProof(v variant, p *proof.Result) platformProof {
	j := platformProof{Platform: v.platform(), Digest: v.desc.Digest.String(), Index: p.Index, Blobs: p.Blobs, Bytes: p.Bytes, Images: []provenJSON{}, Defects: []defectsJSON{}}
	for _, r := range p.References {
		j.Images = append(j.Images, provenJSON(r))
	}
	for _, d := range p.Defects {
		j.Defects = append(j.Defects, defectsJSON(d))
	}
	return j
}

// print writes the proof for people.
func (r *proofJSON) print(env *environment) error {
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	for i, p := range r.Platforms {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s: %d images, %d blobs of %s compared\n", p.Platform, len(p.Images), p.Blobs, sizeText(p.Bytes))
		if len(p.Images)+len(p.Defects) == 0 {
			continue
		}
		fmt.Fprintln(w, "IMAGE\tDIGEST\tSIZE\tSTATE")
		for _, image := range p.Images {
			state := "complete"
			if !image.Complete {
				state = "damaged"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", familiar(image.Name), strings.TrimPrefix(image.Digest, "sha256:")[:12], sizeText(image.Size), state)
		}
		for _, d := range p.Defects {
			if d.Name != "" && !slices.ContainsFunc(p.Images, func(i provenJSON) bool { return i.Name == d.Name }) {
				fmt.Fprintf(w, "%s\t\t\tmissing\n", familiar(d.Name))
			}
		}
	}
	return w.Flush()
}
