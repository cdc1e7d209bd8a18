package find

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"

	"github.com/sealrt/sealrt/artifact/airgap"
)

// part is one document of a rendered text.
type part struct {
	text   string
	before int // how many lines of the rendered text are before it
}

// separator is where Helm splits a rendered text; YAML would want a line of its
// own.
var separator = regexp.MustCompile(`(?m)^---[ \t]*`)

// split splits a rendered text as Helm does.
func split(text string) []part {
	var list []part
	start, before := 0, 0
	add := func(end, next int) {
		if strings.TrimSpace(text[start:end]) != "" {
			list = append(list, part{text[start:end], before})
		}
		before += strings.Count(text[start:next], "\n")
		start = next
	}
	for _, at := range separator.FindAllStringIndex(text, -1) {
		add(at[0], at[1])
	}
	add(len(text), len(text))
	return list
}

// rendered is what one template became.
type rendered struct {
	name string // as the engine calls it: by the names of charts, not of folders
	at   string // in the tree
	text string
}

// rendering is the work on one chart.
type rendering struct {
	search    *chartSearch
	at        string // the folder or archive in the tree
	files     *chartFiles
	values    map[string]any
	notes     []string          // what the user should know
	templates []rendered        // in the order of their places
	marked    map[string]string // what the templates with marks became, by name
}

// render reads and renders the chart. The engine makes nothing of a library.
func (r *rendering) render(ctx context.Context) error {
	var err error
	if r.files, err = r.search.readChart(r.at); err != nil {
		return r.orIgnore(err)
	}
	places := map[*common.File]string{}
	c, err := r.files.load(places)
	if err == nil {
		err = r.check(c)
	}
	if err != nil {
		return r.orIgnore(err)
	}
	name := c.Name()
	if err := r.readValues(name); err != nil {
		return err
	}
	at, texts, err := r.template(ctx, c, places)
	if err != nil {
		return r.orValues(err, name)
	}
	for name, text := range texts {
		if ext := path.Ext(name); ext != ".txt" && ext != ".md" && strings.TrimSpace(text) != "" { // those are for people
			r.templates = append(r.templates, rendered{name, at[name], text})
		}
	}
	slices.SortFunc(r.templates, func(a, b rendered) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.name, b.name))
	})
	r.marked = r.templateMarked(ctx)
	return nil
}

// images returns the images of the rendered chart.
func (r *rendering) images() ([]airgap.Image, error) {
	for _, text := range r.notes {
		note(r.search.options, "%s", text)
	}
	var images []airgap.Image
	var bad []error
	for _, t := range r.templates {
		if r.search.skip.file(t.at) {
			continue
		}
		from := linesOf(t.text, r.marked[t.name])
		for _, p := range split(t.text) {
			where := func(line int) string { return t.place(p.before+line, from) }
			more, err := inObjects([]byte(p.text), where, r.search.skip, r.search.options)
			images = append(images, more...)
			if err != nil {
				bad = append(bad, err)
			}
		}
	}
	return images, errors.Join(bad...)
}

// place returns the place of a line of the rendered text: in the template, if
// from knows it.
func (t rendered) place(line int, from []int) string {
	if line <= len(from) && from[line-1] > 0 {
		return fmt.Sprintf("%s:%d", t.at, from[line-1])
	}
	return fmt.Sprintf("%s:%d (rendered)", t.at, line)
}

// template does what helm template does. It returns the places of the templates
// and what they became, by the engine's names.
func (r *rendering) template(ctx context.Context, c *chart.Chart, places map[*common.File]string) (at, texts map[string]string, err error) {
	if err := chartutil.ProcessDependencies(c, r.values); err != nil {
		return nil, nil, fmt.Errorf("%s: sub-charts: %w", r.files.at, err)
	}
	release := common.ReleaseOptions{Name: c.Name(), Namespace: c.Name(), Revision: 1, IsInstall: true}
	// A schema may want to be fetched from the network, so no value is compared
	// with one.
	values, err := util.ToRenderValuesWithSchemaValidation(c, r.values, release, r.search.capabilities, true)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: values: %w", r.files.at, err)
	}
	at = map[string]string{}
	placesIn(c, places, at)
	texts, err = engine.Engine{CustomTemplateFuncs: steadyFuncs()}.RenderWithContext(ctx, c, values)
	if err != nil {
		return nil, nil, explain(err, at)
	}
	return at, texts, nil
}

// placesIn adds the places of a chart's templates by the names that the engine
// has for them once aliases are known.
func placesIn(c *chart.Chart, places map[*common.File]string, at map[string]string) {
	for _, t := range c.Templates {
		at[path.Join(c.ChartFullPath(), t.Name)] = places[t]
	}
	for _, sub := range c.Dependencies() {
		placesIn(sub, places, at)
	}
}

// templateMarked renders the chart again, from templates with marks. Where that
// does not work, no lines of templates are known.
func (r *rendering) templateMarked(ctx context.Context) map[string]string {
	places := map[*common.File]string{}
	c, err := r.files.load(places)
	if err != nil {
		return nil
	}
	for t := range places {
		if !strings.HasPrefix(path.Base(t.Name), "_") {
			markTemplate(t)
		}
	}
	_, texts, err := r.template(ctx, c, places)
	if err != nil {
		return nil
	}
	return texts
}
