package find

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
	"helm.sh/helm/v4/pkg/chart/common"

	"github.com/sealrt/sealrt/artifact/airgap"
)

// chartsDir is the folder of the tree that charts are in.
const chartsDir = "charts"

// How many folders may be in each other, and how many files and folders are
// looked at, so that symbolic links that go round in circles, or make very much
// of little, have an end.
const (
	maxDepth   = 32
	maxEntries = 10_000
)

// inCharts finds the images of the charts in charts/, at any depth: folders with
// a Chart.yaml, and packed charts. Each is rendered as a first installation,
// with its own values and those beside it, without network and cluster. Images
// come in the order of charts and templates. The error names every chart that
// cannot be rendered.
func inCharts(ctx context.Context, tree fs.FS, skip *ignored, o Options) ([]airgap.Image, error) {
	s := &chartSearch{tree: tree, skip: skip, options: o, capabilities: common.DefaultCapabilities.Copy()}
	if o.KubeVersion != "" {
		version, err := common.ParseKubeVersion(o.KubeVersion)
		if err != nil {
			return nil, fmt.Errorf("charts: version of Kubernetes: %w", err)
		}
		s.capabilities.KubeVersion = *version
	}
	if err := s.walk(chartsDir, 0); err != nil {
		return nil, err
	}
	s.checkValues()
	return s.inAll(ctx)
}

// inAll looks into the charts. They are rendered at the same time, then looked
// at one by one in their order, so that the user is told the same each time and
// the texts of a few only are in memory.
func (s *chartSearch) inAll(ctx context.Context) ([]airgap.Image, error) {
	var images []airgap.Image
	var bad []error
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	before := make(chan struct{})
	close(before)
	for _, name := range s.charts {
		turn, done := before, make(chan struct{})
		before = done
		g.Go(func() error {
			defer close(done)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			r := &rendering{search: s, at: name}
			err := r.render(ctx)
			<-turn
			var found []airgap.Image
			if err == nil {
				found, err = r.images()
			}
			images = append(images, found...)
			bad = append(bad, err)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("charts: %w", err)
	}
	return images, errors.Join(bad...)
}

// chartSearch is one look at the charts of a tree.
type chartSearch struct {
	tree         fs.FS
	skip         *ignored
	options      Options
	capabilities *common.Capabilities
	charts       []string // folders and archives, in the order of their names
	beside       []string // files with values for them
	seen         int      // files and folders
}

// walk notes the charts in a folder. What is in a chart's own folder is part of
// that chart, except in charts/ itself, which becomes one by COPY chart charts.
func (s *chartSearch) walk(dir string, depth int) error {
	entries, err := fs.ReadDir(s.tree, dir)
	if errors.Is(err, fs.ErrNotExist) && depth == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for charts: %w", err)
	}
	if s.seen += len(entries); depth > maxDepth || s.seen > maxEntries {
		return fmt.Errorf("look for charts: %s: more than %d folders in each other, or %d files: name it in .imageignore", dir, maxDepth, maxEntries)
	}
	isChart := s.isFile(path.Join(dir, "Chart.yaml"))
	if isChart {
		s.charts = append(s.charts, dir)
		if depth > 0 {
			return nil
		}
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		info, err := fs.Stat(s.tree, name)
		if s.skip.file(name) || err != nil { // a link to nowhere is no chart
			continue
		}
		switch {
		case info.IsDir() && isChart && (e.Name() == "charts" || e.Name() == "templates" || e.Name() == "crds"):
		case info.IsDir():
			if err := s.walk(name, depth+1); err != nil {
				return err
			}
		case packed(name) && !isChart:
			s.charts = append(s.charts, name)
		case besideName(name) != "":
			s.beside = append(s.beside, name)
		}
	}
	return nil
}

// isFile reports whether there is such a file.
func (s *chartSearch) isFile(name string) bool {
	info, err := fs.Stat(s.tree, name)
	return err == nil && info.Mode().IsRegular()
}

// packed reports whether a file is a packed chart by its name.
func packed(name string) bool {
	return strings.HasSuffix(name, ".tgz") || strings.HasSuffix(name, ".tar.gz")
}
