package airgap

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// texts writes images as "where name platform".
func texts(images []Image) []string {
	var list []string
	for _, img := range images {
		s := img.Where + " " + img.Ref.String()
		if img.Platform != nil {
			s += " " + img.Platform.String()
		}
		list = append(list, s)
	}
	return list
}

func TestParseList(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
		errs     []string
	}{
		{name: "empty"},
		{name: "short names are completed", in: "k3s:v1.25.3\nteam/app\nquay.io/x/y:1\nlocalhost:5000/z:2\n", want: []string{
			"l:1 docker.io/library/k3s:v1.25.3", "l:2 docker.io/team/app:latest", "l:3 quay.io/x/y:1", "l:4 localhost:5000/z:2"}},
		{name: "digests and both", in: "a@" + someDigest + "\na:1@" + someDigest, want: []string{
			"l:1 docker.io/library/a@" + someDigest, "l:2 docker.io/library/a:1@" + someDigest}},
		{name: "comments, blank lines, CRLF, BOM", in: "\ufeff# head\r\n\r\n  a:1   # why\r\n\tb:1\r\n", want: []string{
			"l:3 docker.io/library/a:1", "l:4 docker.io/library/b:1"}},
		{name: "platform", in: "--platform=linux/arm64 a:1\nb:1 --platform linux/arm/v7\n", want: []string{
			"l:1 docker.io/library/a:1 linux/arm64", "l:2 docker.io/library/b:1 linux/arm/v7"}},
		{name: "all bad lines at once", in: "a:1\nUPPER\n\nb c\n--platform=arm64 d\n--pull e\n--platform\n--platform=linux/arm64\nf@sha256:12", errs: []string{
			`l:2: "UPPER"`, `l:4: "b c": more than one word`, `l:5: "--platform=arm64 d": platform "arm64"`, `l:6: "--pull e": unknown option --pull`,
			`l:7: "--platform": --platform without a value`, `l:8: "--platform=linux/arm64": no image reference`, `l:9: "f@sha256:12"`}},
		{name: "a line without end", in: "a:1\n" + strings.Repeat("x", maxLine+1), errs: []string{"read l:2: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			images, err := ParseList("l", strings.NewReader(tt.in))
			if diff := cmp.Diff(tt.want, texts(images)); diff != "" {
				t.Error(diff)
			}
			if (err != nil) != (tt.errs != nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				return
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.errs) {
				t.Fatalf("%d errors, %d wanted:\n%v", len(lines), len(tt.errs), err)
			}
			for i, want := range tt.errs {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("error %q does not begin with %q", lines[i], want)
				}
			}
		})
	}
}

func TestParseListErrorSaysWhere(t *testing.T) {
	_, err := ParseList("manifests/imageList", strings.NewReader("# x\nUPPER"))
	var line *LineError
	if !errors.As(err, &line) || line.File != "manifests/imageList" || line.Line != 2 || line.Text != "UPPER" {
		t.Errorf("got %#v", err)
	}
}

func TestFind(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	tree := fstest.MapFS{
		"manifests/imageList":       file("a:1\n"),
		"manifests/ImageList":       file("b:1\n"),
		"manifests/more.imagelist":  file("\nc:1\n"),
		"manifests/k3s-images.txt":  file("d:1\n"),
		"k3s-images.txt":            file("e:1\n"),
		"manifests/other.txt":       file("not a list\n"),
		"manifests/sub/x.imagelist": file("not a list\n"),
		"imageList":                 file("not a list\n"),
	}
	images, err := Find(tree)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"k3s-images.txt:1 docker.io/library/e:1",
		"manifests/ImageList:1 docker.io/library/b:1",
		"manifests/imageList:1 docker.io/library/a:1",
		"manifests/k3s-images.txt:1 docker.io/library/d:1",
		"manifests/more.imagelist:2 docker.io/library/c:1",
	}
	if diff := cmp.Diff(want, texts(images)); diff != "" {
		t.Error(diff)
	}
}

func TestFindNothing(t *testing.T) {
	images, err := Find(fstest.MapFS{})
	if err != nil || len(images) != 0 {
		t.Errorf("got %v, %v", images, err)
	}
}

func TestFindNamesBadLinesOfAllLists(t *testing.T) {
	_, err := Find(fstest.MapFS{
		"manifests/imageList":   {Data: []byte("A\n")},
		"manifests/b.imagelist": {Data: []byte("ok\nB\n")},
		"k3s-images.txt":        {Mode: 0o755 | 1<<31},
	})
	for _, want := range []string{`manifests/imageList:1: "A"`, `manifests/b.imagelist:2: "B"`, "k3s-images.txt"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
