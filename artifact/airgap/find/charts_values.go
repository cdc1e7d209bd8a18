package find

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/strvals"
)

// The files beside a chart that say what it is installed with.
const (
	valuesSuffix   = ".values.yaml" // what helm install -f takes
	settingsSuffix = ".values"      // a line is what helm install --set takes
)

// besideChart returns the names that a chart's files may have beside it, without
// suffix: that of its folder, or that of its archive without and with the
// version. What comes later wins.
func besideChart(at, name string) []string {
	if !packed(at) {
		return []string{at}
	}
	full := strings.TrimSuffix(strings.TrimSuffix(at, ".tgz"), ".tar.gz")
	if version, ok := strings.CutPrefix(path.Base(full), name+"-"); ok && version != "" {
		return []string{path.Join(path.Dir(full), name), full}
	}
	return []string{full}
}

// maxValues is the largest file of values, in bytes.
const maxValues = 4 << 20

// readValues reads the files beside the chart.
func (r *rendering) readValues(name string) error {
	r.values = map[string]any{}
	bases := besideChart(r.at, name)
	for _, base := range bases {
		name, text, err := r.readBeside(base + valuesSuffix)
		if err != nil {
			return err
		}
		more, err := loader.LoadValues(bytes.NewReader(text))
		if err != nil {
			return valuesError(name, err)
		}
		r.values = loader.MergeMaps(r.values, more)
	}
	for _, base := range bases {
		name, text, err := r.readBeside(base + settingsSuffix)
		if err == nil {
			err = set(name, text, r.values)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readBeside reads a file beside the chart, or a template of it, which is filled
// in with what is known before there is a cluster. There may be none.
func (r *rendering) readBeside(name string) (string, []byte, error) {
	text, err := readSmall(r.search.tree, name, maxValues)
	if !errors.Is(err, fs.ErrNotExist) {
		return name, text, err
	}
	name += templateSuffix
	text, err = readSmall(r.search.tree, name, maxValues)
	if errors.Is(err, fs.ErrNotExist) {
		return name, nil, nil
	}
	if err != nil {
		return name, nil, err
	}
	filled, _, err := fill(name, string(text), r.search.options.Env)
	if err != nil {
		line, cause := templateCause(name, err)
		r.notes = append(r.notes, fmt.Sprintf("%s:%d: what this template becomes is not known before there is a cluster: %s: the chart is rendered without it, so name the images that it asks for in manifests/imageList", name, line, cause))
		return name, nil, nil
	}
	return name, filled, nil
}

// yamlLine finds the line in an error of a YAML parser.
var yamlLine = regexp.MustCompile(`yaml: (?:unmarshal errors:\s+)?line (\d+): `)

// valuesError adds file and line to an error of a YAML parser.
func valuesError(name string, err error) error {
	if m := yamlLine.FindStringSubmatchIndex(err.Error()); m != nil {
		return fmt.Errorf("%s:%s: no YAML: %s", name, err.Error()[m[2]:m[3]], err.Error()[m[1]:])
	}
	return fmt.Errorf("%s: %w", name, err)
}

// set reads a file of settings into the values. A line is one expression of
// helm's --set, or what a command line has: --set a=b --set-string c=1.
func set(name string, text []byte, values map[string]any) error {
	var bad []error
	n := 0
	for line := range bytes.Lines(bytes.TrimPrefix(text, []byte("\ufeff"))) {
		n++
		setting := uncommented(string(line))
		if setting == "" {
			continue
		}
		if err := setLine(setting, values); err != nil {
			bad = append(bad, fmt.Errorf("%s:%d: %q: %w", name, n, setting, err))
		}
	}
	return errors.Join(bad...)
}

// setLine reads one line of settings.
func setLine(line string, values map[string]any) error {
	if !strings.HasPrefix(line, "-") {
		return strvals.ParseInto(line, values)
	}
	words, err := splitWords(line)
	if err != nil {
		return err
	}
	for i := 0; i < len(words); i++ {
		option, expression, ok := strings.Cut(words[i], "=")
		if !ok {
			if i++; i == len(words) {
				return fmt.Errorf("%s without a setting: write %s a.b=c", option, option)
			}
			expression = words[i]
		}
		switch option {
		case "--set":
			err = strvals.ParseInto(expression, values)
		case "--set-string":
			err = strvals.ParseIntoString(expression, values)
		case "--set-json":
			err = strvals.ParseJSON(expression, values)
		default:
			err = fmt.Errorf("%s: only --set, --set-string and --set-json are known here; other values go into the file *%s", option, valuesSuffix)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// splitWords splits a line at blanks as a shell does: quotes keep words
// together, and what ends in a backslash goes on in the next line.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	started := false
	for _, c := range strings.TrimSpace(strings.TrimSuffix(line, "\\")) {
		switch {
		case c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '"' || c == '\'':
			quote, started = c, true
		case c == ' ' || c == '\t':
			if started {
				words = append(words, word.String())
				word.Reset()
			}
			started = false
		default:
			word.WriteRune(c)
			started = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote %c has no end", quote)
	}
	if started {
		words = append(words, word.String())
	}
	return words, nil
}

// besideName returns for which chart a file beside charts is, or "".
func besideName(name string) string {
	name = strings.TrimSuffix(name, templateSuffix)
	for _, suffix := range []string{valuesSuffix, settingsSuffix} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			return base
		}
	}
	return ""
}

// checkValues tells of files beside charts that belong to none: a typing error
// in a name would leave out images without a word.
func (s *chartSearch) checkValues() {
	for _, name := range s.beside {
		base := besideName(name)
		if !slices.ContainsFunc(s.charts, func(at string) bool {
			full := strings.TrimSuffix(strings.TrimSuffix(at, ".tgz"), ".tar.gz")
			return full == base || packed(at) && strings.HasPrefix(full, base+"-")
		}) {
			note(s.options, "%s is not used: there is no chart %s beside it", name, path.Base(base))
		}
	}
}
