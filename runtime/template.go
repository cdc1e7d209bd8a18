package runtime

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"text/template"
	"unicode/utf8"

	"github.com/Masterminds/sprig/v3"
)

// execute fills in a template of an image with data. An error of what it asks
// for ends with the hint.
func execute(i Image, name string, data any, r RegistryView, hint string) (string, error) {
	raw, err := fs.ReadFile(i.files(), name)
	if err != nil {
		return "", fmt.Errorf("%s: template %s: %w", i.Ref.Familiar(), name, err)
	}
	if !utf8.Valid(raw) {
		return "", fmt.Errorf("%s: template %s: it is no text: give a file that is to stay as it is another name than *%s", i.Ref.Familiar(), name, TemplateSuffix)
	}
	t, err := template.New(name).Funcs(templateFunctions(r)).Option("missingkey=error").Parse(string(raw))
	if err != nil {
		return "", fmt.Errorf("%s: %w", i.Ref.Familiar(), err)
	}
	var out strings.Builder
	if err := t.Execute(&out, data); err != nil {
		return "", fmt.Errorf("%s: %w (%s)", i.Ref.Familiar(), err, hint)
	}
	return out.String(), nil
}

// impure are functions of sprig that give another result each time, or on
// another machine, beside those that it leaves out of its hermetic ones itself:
// what a template becomes would be another file at each run.
var impure = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"ago", "toDate", "mustToDate", "must_date_modify", "mustDateModify", "shuffle", "randInt", "bcrypt", "htpasswd", "encryptAES",
	"genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey",
}

// templateFunctions are what templates can call.
func templateFunctions(r RegistryView) template.FuncMap {
	functions := sprig.HermeticTxtFuncMap()
	for name := range functions {
		if slices.Contains(impure[:], name) {
			delete(functions, name)
		}
	}
	functions["image"] = r.image
	// sprig's know no maps of strings, which settings and labels are
	functions["hasKey"] = func(m any, key string) (bool, error) {
		_, there, err := valueOf(m, key)
		return there, err
	}
	functions["get"] = func(m any, key string) (any, error) {
		value, _, err := valueOf(m, key)
		return value, err
	}
	return functions
}

// valueOf returns a value of a map, "" where it has none.
func valueOf(m any, key string) (value any, there bool, err error) {
	switch m := m.(type) {
	case map[string]string:
		value, there = m[key]
	case map[string]any:
		value, there = m[key]
	default:
		return nil, false, fmt.Errorf("%T is no map", m)
	}
	if !there {
		value = ""
	}
	return value, there, nil
}
