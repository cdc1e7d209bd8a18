package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// print writes the report for people.
func (r *reportJSON) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, printable(value))
		}
	}
	row("image", r.Ref)
	row("digest", r.Digest)
	row("size", sizeText(r.Size)+r.text())
	for _, a := range r.Attachments {
		row("attached", a.what())
	}
	for _, p := range r.Platforms {
		fmt.Fprintln(w)
		p.print(row, len(r.Platforms) > 1)
	}
	return w.Flush()
}

// print writes what there is about one platform, of several or not.
func (p *variantJSON) print(row func(name, value string), several bool) {
	row("platform", p.Platform)
	row("manifest", p.Digest)
	row("type", strings.TrimSpace(p.Type+" "+p.Distro+" "+p.Version))
	row("images", p.Images)
	if !p.Created.IsZero() {
		row("created", p.Created.UTC().Format(time.RFC3339))
	}
	if several {
		row("size", sizeText(p.Size)+p.text())
	}
	for _, name := range slices.Sorted(maps.Keys(p.Labels)) {
		row("label", name+"="+p.Labels[name])
	}
	row("user", p.User)
	row("workdir", p.WorkingDir)
	for _, e := range p.Env {
		row("env", e)
	}
	row("entrypoint", strings.Join(p.Entrypoint, " "))
	row("cmd", strings.Join(p.Cmd, " "))
	for _, l := range p.Layers {
		row("layer", fmt.Sprintf("%s  %s  %s", l.Digest, sizeText(l.Size), l.what(false)))
	}
	for _, i := range p.Inside {
		row("inside", i.what())
	}
	for _, c := range p.Components {
		row("component", c.what())
	}
	row("problem", p.Problem)
}

// text says it for people, behind the size.
func (o *overlapJSON) text() string {
	if o == nil {
		return ""
	}
	return fmt.Sprintf(" (%s shared with other images, %s its own)", sizeText(o.Shared), sizeText(o.Own))
}

// what says how the layer came to be, with the remark that marks what another
// machine may make otherwise. Unless it is wanted whole it is cut.
func (l layerJSON) what(whole bool) string {
	cut := oneLine
	if whole {
		cut = func(s string) string { return strings.Join(strings.Fields(s), " ") }
	}
	if l.Comment == "" {
		return printable(cut(l.CreatedBy))
	}
	return printable(cut(l.CreatedBy)) + "  (" + printable(cut(l.Comment)) + ")"
}

// what says which container image is inside.
func (i insideJSON) what() string {
	text := familiar(i.Name)
	if text == "" {
		text = "(no name)"
	}
	if h, err := v1.NewHash(i.Digest); err == nil {
		text += "  " + shortDigest(h)
	}
	text += "  " + sizeText(i.Size)
	if i.Signature {
		text += "  (signature)"
	}
	return text
}

// what says what is attached, and to which platform.
func (a attachmentJSON) what() string {
	about := a.Kind
	switch {
	case a.PredicateType != "" && a.Kind != "signature":
		about += " of " + a.PredicateType
	case a.Kind == "other":
		about = a.ArtifactType
	}
	return a.Ref + "  " + about
}

// oneLine makes one line of a text, cut to a readable length.
func oneLine(s string) string {
	const most = 80
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}
