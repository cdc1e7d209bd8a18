package find

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestIgnoredImages(t *testing.T) {
	const sum = "@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	for _, c := range []struct {
		lines, image string
		want         bool
	}{
		{"", "nginx:1", false},
		{"# nginx", "nginx", false},
		{"nginx", "nginx:1.25", true},
		{"nginx", "docker.io/library/nginx:1.25", true},
		{"nginx", "docker.io/library/nginx", true},
		{"docker.io/library/nginx", "nginx:1.25", true},
		{"nginx:1.25", "nginx:1.26", false},
		{"nginx:latest", "nginx", true},
		{"nginx", "nginx-extra", false},
		{"nginx", "example.com/nginx", false},
		{"*nginx", "example.com/nginx:1", true},
		{"example.com/*", "example.com:5000/a", false},
		{"example.com:5000/a", "example.com:5000/a:1", true},
		{"*:latest", "redis", true},
		{"*:latest", "redis:7", false},
		{"redis:?", "redis:7", true},
		{"redis:?", "redis:72", false},
		{"redis:1*", "redis:1" + sum, true},
		{"redis@*", "redis:1" + sum, false},
		{"*@*", "redis:1" + sum, true},
		{"*\n!redis", "redis:7", false},
		{"*\n! redis", "nginx:7", true},
		{"!redis\n*", "redis:7", true},
		{"${IMAGE}", "${IMAGE}", true},
		{"Nginx*", "Nginx:1", true},
		{"a*b*c", "aXbXbXc", true},
		{"a*b*c", "aXbXbX", false},
		{"  nginx   # not ours", "nginx", true},
		{"\ufeffnginx\r\nredis\r", "redis", true},
		{"manifests/*", "manifests/web:1", false},
	} {
		g, err := readIgnore(fstest.MapFS{}, []byte(c.lines))
		if err != nil {
			t.Fatal(err)
		}
		if got := g.image(c.image); got != c.want {
			t.Errorf("%q on %s: %v", c.lines, c.image, got)
		}
	}
}

func TestIgnoredFiles(t *testing.T) {
	for _, c := range []struct {
		lines, file string
		want        bool
	}{
		{"manifests/a.yaml", "manifests/a.yaml", true},
		{"manifests/a.yaml", "manifests/b.yaml", false},
		{"manifests/test", "manifests/test/deep/a.yaml", true},
		{"manifests/test/", "manifests/test/a.yaml", true},
		{"manifests/test", "manifests/testing/a.yaml", false},
		{"manifests/*.json", "manifests/deep/a.json", true},
		{"charts/web", "charts/web", true},
		{"charts/web", "charts/web-2.tgz", false},
		{"charts/web*", "charts/web-2.tgz", true},
		{"images/old.tar", "images/old.tar", true},
		{"manifests/test\n!manifests/test/a.yaml", "manifests/test/a.yaml", false},
		{"manifests/test\n!manifests/test/a.yaml", "manifests/test/b.yaml", true},
		{"*", "manifests/a.yaml", false},
		{"compose.yaml", "compose.yaml", true},
		{"compose.yaml", "manifests/compose.yaml", false},
		{"*.yml", "manifests/mkdocs.yml", true},
	} {
		g, err := readIgnore(fstest.MapFS{}, []byte(c.lines))
		if err != nil {
			t.Fatal(err)
		}
		if got := g.file(c.file); got != c.want {
			t.Errorf("%q on %s: %v", c.lines, c.file, got)
		}
	}
}

func TestIgnoreNamesBadLines(t *testing.T) {
	_, err := readIgnore(fstest.MapFS{
		".imageignore":           {Data: []byte("ok\na b\n!\n")},
		"manifests/.imageignore": {Data: []byte("./manifests/a.yaml\n\x01\n")},
	}, []byte("/charts/a\n"))
	if err == nil {
		t.Fatal("no error")
	}
	want := `.imageignore of the build context:1: "/charts/a": files of the tree are named from its root, like manifests/extra.yaml or charts/web
.imageignore:2: "a b": more than one word: write one pattern a line
.imageignore:3: "!": ! without a pattern after it
manifests/.imageignore:1: "./manifests/a.yaml": files of the tree are named from its root, like manifests/extra.yaml or charts/web
manifests/.imageignore:2: "\x01": this is no text: write one pattern a line`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

// TestIgnoreTellsWhatMatchesNothing has patterns of every kind of place.
func TestIgnoreTellsWhatMatchesNothing(t *testing.T) {
	var notes []string
	images, err := Images(context.Background(), fstest.MapFS{
		".imageignore":         {Data: []byte("nginx\nredis\nmanifests/bad.yaml\nmanifests/none.yaml\nimages/x.tar\nlisted\n")},
		"manifests/a.yaml":     {Data: []byte("apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'nginx:1'}, {image: 'a:1'}]}")},
		"manifests/bad.yaml":   {Data: []byte("a: b: c\n{{")},
		"manifests/imageList":  {Data: []byte("b:1\nlisted:1 # no\n--platform=linux/arm64 c:1\n")},
		"manifests/.gitignore": {Data: []byte("x")},
	}, Options{Ignore: []byte("c:*\n"), Note: func(s string) { notes = append(notes, s) }})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"manifests/imageList:1 docker.io/library/b:1", "manifests/a.yaml:3 docker.io/library/a:1"}, texts(images)); diff != "" {
		t.Error(diff)
	}
	want := []string{
		".imageignore:2: redis matches nothing: remove the line, or correct it",
		".imageignore:4: manifests/none.yaml matches nothing: remove the line, or correct it",
	}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Error(diff)
	}
}

// TestMatchesDoesNotExplode has a pattern that takes years if every star is
// tried everywhere.
func TestMatchesDoesNotExplode(t *testing.T) {
	if matches(strings.Repeat("*a", 2000), strings.Repeat("a", 20_000)+"b") {
		t.Error("matches")
	}
}

// TestIgnoredLinesAreNotParsed has lines in a list that are no references.
func TestIgnoredLinesAreNotParsed(t *testing.T) {
	images, err := Images(context.Background(), fstest.MapFS{
		".imageignore":        {Data: []byte("Bad*\n")},
		"manifests/imageList": {Data: []byte("BadName:1\na:1\n")},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"manifests/imageList:2 docker.io/library/a:1"}, texts(images)); diff != "" {
		t.Error(diff)
	}
}
