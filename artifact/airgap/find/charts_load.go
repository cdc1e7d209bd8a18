package find

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/ignore"
)

// maxChart is how many bytes the files of a chart may have, sub-charts
// included, and packed ones of them unpacked. Helm takes 100 MiB of each.
const maxChart = 64 << 20

var errBigChart = fmt.Errorf("its files have more than %d MiB", maxChart>>20)

// chartFiles are the files of one chart as Helm wants them, and where they are
// in the tree.
type chartFiles struct {
	at    string // charts/app, or charts/app-1.2.3.tgz!app
	files []*archive.BufferedFile
	subs  []*chartFiles // the charts in its charts/, in the order of their names
}

// readChart reads a folder or an archive of the tree.
func (s *chartSearch) readChart(name string) (*chartFiles, error) {
	budget := int64(maxChart)
	if !packed(name) {
		files, err := s.readFolder(name, &budget)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return splitChart(name, files, &budget)
	}
	f, err := s.tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxChart+1))
	if err == nil && len(raw) > maxChart {
		err = errBigChart
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return readPacked(name, raw, &budget)
}

// readFolder returns the files of a chart's folder without those that its
// .helmignore names.
func (s *chartSearch) readFolder(dir string, budget *int64) ([]*archive.BufferedFile, error) {
	rules := ignore.Empty()
	text, err := fs.ReadFile(s.tree, path.Join(dir, ignore.HelmIgnore))
	if err == nil {
		rules, err = ignore.Parse(bytes.NewReader(text))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", ignore.HelmIgnore, err)
	}
	rules.AddDefaults()
	w := &folder{tree: s.tree, dir: dir, rules: rules, budget: budget}
	return w.files, w.read(".", 0)
}

// folder reads the files of a folder.
type folder struct {
	tree   fs.FS
	dir    string
	rules  *ignore.Rules
	budget *int64
	files  []*archive.BufferedFile
	seen   int // files and folders
}

// read reads what is in a folder below dir; "" is dir itself. Symbolic links are
// followed, as far as the tree has what they lead to.
func (w *folder) read(below string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d folders in each other", below, maxDepth)
	}
	entries, err := fs.ReadDir(w.tree, path.Join(w.dir, below))
	if err != nil {
		return err
	}
	if w.seen += len(entries); w.seen > maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	for _, e := range entries {
		name := path.Join(below, e.Name())
		info, err := fs.Stat(w.tree, path.Join(w.dir, name))
		if err != nil {
			return err
		}
		switch {
		case w.rules.Ignore(name, info):
		case info.IsDir():
			err = w.read(name, depth+1)
		case info.Mode().IsRegular():
			err = w.file(name, info.Size())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file reads one file.
func (w *folder) file(name string, size int64) error {
	if *w.budget -= size; *w.budget < 0 {
		return fmt.Errorf("%w: name what is no part of it in its %s", errBigChart, ignore.HelmIgnore)
	}
	data, err := fs.ReadFile(w.tree, path.Join(w.dir, name))
	if err != nil {
		return err
	}
	w.files = append(w.files, &archive.BufferedFile{Name: name, Data: bytes.TrimPrefix(data, []byte("\ufeff"))})
	return nil
}

// readPacked reads the archive of a chart.
func readPacked(name string, raw []byte, budget *int64) (*chartFiles, error) {
	top, err := measure(raw, budget)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	files, err := archive.LoadArchiveFiles(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return splitChart(name+"!"+top, files, budget)
}

// measure takes the size of an archive's files from the budget, so that a small
// archive of very much does not come into memory, and returns the folder that
// its files are in.
func measure(raw []byte, budget *int64) (string, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return "", fmt.Errorf("no packed chart: %w", err)
	}
	defer unzipped.Close()
	// A header has 512 bytes, so this also ends archives of countless empty files.
	limited := &io.LimitedReader{R: unzipped, N: *budget + 1}
	defer func() { *budget = limited.N - 1 }()
	top, files := "", tar.NewReader(limited)
	for {
		h, err := files.Next()
		switch {
		case limited.N <= 0 || err == nil && h.Size > maxChart: // sparse files say what they would have
			return "", errBigChart
		case errors.Is(err, io.EOF):
			return top, nil
		case err != nil:
			return "", fmt.Errorf("no packed chart: %w", err)
		case top == "" && h.Typeflag != tar.TypeXGlobalHeader:
			top, _, _ = strings.Cut(h.Name, "/")
		}
	}
}

// splitChart tells the files of a chart from those of the charts in it, by the
// rules of Helm: what starts with "_" or "." in charts/ is none.
func splitChart(at string, files []*archive.BufferedFile, budget *int64) (*chartFiles, error) {
	c := &chartFiles{at: at}
	inside := map[string][]*archive.BufferedFile{}
	for _, f := range files {
		rest, ok := strings.CutPrefix(f.Name, "charts/")
		if !ok {
			c.files = append(c.files, f)
			continue
		}
		sub, name, _ := strings.Cut(rest, "/")
		if sub[0] == '_' || sub[0] == '.' || name == "" && path.Ext(sub) != ".tgz" {
			continue
		}
		inside[sub] = append(inside[sub], &archive.BufferedFile{Name: name, Data: f.Data})
	}
	for _, name := range slices.Sorted(maps.Keys(inside)) {
		var sub *chartFiles
		var err error
		if of := inside[name]; of[0].Name == "" { // the archive itself
			sub, err = readPacked(at+"/charts/"+name, of[0].Data, budget)
		} else {
			sub, err = splitChart(at+"/charts/"+name, of, budget)
		}
		if err != nil {
			return nil, err
		}
		c.subs = append(c.subs, sub)
	}
	return c, nil
}

// file returns the text of a file of the chart, or nothing.
func (c *chartFiles) file(name string) []byte {
	for _, f := range c.files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

// line returns the place of a key in a file of the chart.
func (c *chartFiles) line(name, key string) string {
	for i, line := range strings.Split(string(c.file(name)), "\n") {
		if strings.HasPrefix(line, key+":") {
			return fmt.Sprintf("%s/%s:%d", c.at, name, i+1)
		}
	}
	return c.at + "/" + name
}

// badFile finds the file that an error of the loader is about.
var badFile = regexp.MustCompile(`^cannot load (\S+): `)

// fileError adds the place to an error of the loader.
func (c *chartFiles) fileError(err error) error {
	switch m := badFile.FindStringSubmatch(err.Error()); {
	case m != nil:
		return valuesError(c.at+"/"+m[1], err)
	case c.file("Chart.yaml") == nil:
		return fmt.Errorf("%s: no chart: it has no Chart.yaml", c.at)
	default:
		return fmt.Errorf("%s/Chart.yaml: %w", c.at, err)
	}
}

// load makes a chart of the files, anew each time because rendering changes it,
// and adds where its templates are. NOTES.txt is what a user is told, so it is
// left out.
func (c *chartFiles) load(places map[*common.File]string) (*chart.Chart, error) {
	made, err := loader.LoadFiles(c.files)
	if err != nil {
		return nil, c.fileError(err)
	}
	if v := made.Metadata.APIVersion; v != chart.APIVersionV1 && v != chart.APIVersionV2 {
		return nil, fmt.Errorf("%s: apiVersion %s is not supported: write v2", c.line("Chart.yaml", "apiVersion"), v)
	}
	made.Templates = slices.DeleteFunc(made.Templates, func(t *common.File) bool { return path.Base(t.Name) == "NOTES.txt" })
	for _, t := range made.Templates {
		places[t] = c.at + "/" + t.Name
	}
	for _, sub := range c.subs {
		more, err := sub.load(places)
		if err != nil {
			return nil, err
		}
		made.AddDependency(more)
	}
	return made, nil
}
