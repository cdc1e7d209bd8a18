package contents

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"sigs.k8s.io/yaml"
)

// chartFile is the file that tells of a chart (Helm's documentation, "The
// Chart.yaml File").
const chartFile = "Chart.yaml"

// What is read of charts.
const (
	maxChartFile = 1 << 20   // bytes of a Chart.yaml
	maxChart     = 256 << 20 // bytes that an archive may unpack to
	maxChartTree = 20_000    // files in one
	maxCharts    = 4         // archives in each other
)

// isChartArchive reports whether a file is called as a packed chart is.
func isChartArchive(name string) bool {
	return strings.HasSuffix(name, ".tgz") || strings.HasSuffix(name, ".tar.gz")
}

// readChartFile reads a Chart.yaml.
func readChartFile(name string, r io.Reader) (*found, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxChartFile+1))
	if err == nil && len(raw) > maxChartFile {
		err = fmt.Errorf("%w: %d bytes", errTooMuch, maxChartFile)
	}
	if err != nil {
		return nil, err
	}
	var m chart.Metadata
	if err := yaml.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	if m.Name == "" {
		return nil, errors.New("the chart has no name")
	}
	c := Chart{File: name, Name: field(m.Name), Version: field(m.Version), AppVersion: field(m.AppVersion)}
	for _, d := range m.Dependencies {
		if d != nil {
			c.Dependencies = append(c.Dependencies, Dependency{field(d.Name), field(d.Version), field(d.Repository)})
		}
	}
	return &found{charts: []Chart{c}}, nil
}

// readChartArchive reads a packed chart, and the charts in it.
func readChartArchive(name string, r io.Reader) (*found, error) {
	a := &chartArchive{bytes: maxChart, files: maxChartTree}
	if err := a.read(name, r, maxCharts); err != nil {
		return nil, err
	}
	if len(a.charts) == 0 {
		return nil, errors.New("there is no chart in this archive")
	}
	return &found{charts: a.charts}, nil
}

// chartArchive is a packed chart while it is read.
type chartArchive struct {
	charts []Chart
	bytes  int64 // that may yet be unpacked
	files  int
}

// read reads an archive in which there may be more, that many in each other.
func (a *chartArchive) read(name string, r io.Reader, depth int) error {
	if depth == 0 {
		return errors.New("too many archives in each other")
	}
	plain, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	for tr := tar.NewReader(io.LimitReader(plain, 2*maxChart)); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !(hdr != nil && errors.Is(err, tar.ErrInsecurePath)) {
			return err
		}
		if a.bytes -= hdr.Size; a.bytes < 0 {
			return fmt.Errorf("%w: it unpacks to %d bytes", errTooMuch, maxChart)
		}
		if a.files--; a.files < 0 {
			return fmt.Errorf("%w: %d files", errTooMuch, maxChartTree)
		}
		if hdr.Typeflag != tar.TypeReg {
			continue
		}
		inner := name + "!" + strings.ToValidUTF8(path.Clean(hdr.Name), "_")
		switch dir := path.Base(path.Dir(hdr.Name)); {
		case path.Base(hdr.Name) == chartFile:
			found, err := readChartFile(inner, tr)
			if err != nil {
				return fmt.Errorf("%s: %w", hdr.Name, err)
			}
			a.charts = append(a.charts, found.charts...)
		case dir == "charts" && isChartArchive(hdr.Name):
			if err := a.read(inner, tr, depth-1); err != nil {
				return fmt.Errorf("%s: %w", hdr.Name, err)
			}
		}
	}
}
