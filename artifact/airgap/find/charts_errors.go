package find

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
)

// check reports why Helm would not install the chart here.
func (r *rendering) check(c *chart.Chart) error {
	version := r.search.capabilities.KubeVersion
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, version.String()) {
		whose := "the cluster image has " + version.Version
		if r.search.options.KubeVersion == "" {
			whose = "the cluster image names none, so it is rendered for " + version.Version
		}
		return fmt.Errorf("%s: the chart wants Kubernetes %s, %s", r.files.line("Chart.yaml", "kubeVersion"), want, whose)
	}
	var missing []string
	for _, d := range c.Metadata.Dependencies {
		if d != nil && !slices.ContainsFunc(c.Dependencies(), func(sub *chart.Chart) bool { return sub.Name() == d.Name }) {
			missing = append(missing, d.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	file := "Chart.yaml"
	if r.files.file("requirements.yaml") != nil {
		file = "requirements.yaml"
	}
	folder := r.at
	if packed(r.at) {
		folder = "the chart's folder and pack it again"
	}
	return fmt.Errorf("%s: no sub-charts %s in its charts/: run helm dependency build in %s", r.files.line(file, "dependencies"),
		strings.Join(missing, ", "), folder)
}

// orIgnore adds the way out of a chart that cannot be used.
func (r *rendering) orIgnore(err error) error {
	return fmt.Errorf("%w; or name %s in .imageignore and its images in manifests/imageList", err, r.at)
}

// orValues adds the ways out of a chart that does not render as it is.
func (r *rendering) orValues(err error, name string) error {
	beside := besideChart(r.at, name)[0]
	return fmt.Errorf("%w; write what it is installed with into %s or %s, or name %s in .imageignore and its images in manifests/imageList",
		err, beside+valuesSuffix, beside+settingsSuffix, r.at)
}

// maxMessage is how much is told of what a template says, in bytes.
const maxMessage = 500

// Forms of the engine's errors: one of required and fail, and one that names
// the template, the one that it includes, and so on.
var (
	engineError = regexp.MustCompile(`(?s)^(?:execution|parse) error (?:at|in) \(([^)]*)\): (.*)$`)
	engineTrace = regexp.MustCompile(`(?m)^(\S+:\d+(?::\d+)?)$|template: (\S+:\d+(?::\d+)?): `)
	engineAt    = regexp.MustCompile(`^executing "[^"]*" at `)
)

// explain turns an error of the engine into one line that starts with the place
// in the tree. at has the places of templates.
func explain(err error, at map[string]string) error {
	text := err.Error()
	if m := engineError.FindStringSubmatch(text); m != nil {
		return errors.New(placeOf(m[1], at) + ": " + oneLine(m[2]))
	}
	trace := engineTrace.FindAllStringSubmatchIndex(text, -1)
	if len(trace) == 0 {
		return errors.New(oneLine(text))
	}
	place := func(m []int) string {
		if m[2] < 0 {
			m = m[2:]
		}
		return placeOf(text[m[2]:m[3]], at)
	}
	first, last := trace[0], trace[len(trace)-1]
	message := place(last) + ": " + oneLine(text[last[1]:])
	if len(trace) > 1 {
		message += ", included by " + place(first)
	}
	return errors.New(message)
}

// placeOf turns the engine's template:line:column into a place in the tree.
func placeOf(location string, at map[string]string) string {
	name, rest, _ := strings.Cut(location, ":")
	line, _, _ := strings.Cut(rest, ":")
	if at[name] == "" {
		return location
	}
	if line == "" {
		return at[name]
	}
	return at[name] + ":" + line
}

// oneLine writes a text in one line that is not too long.
func oneLine(text string) string {
	text = engineAt.ReplaceAllString(strings.Join(strings.Fields(text), " "), "")
	if len(text) > maxMessage {
		return strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}
