package airgap

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// texts writes images as "where name platform < place".
func texts(images []Image) []string {
	var list []string
	for _, img := range images {
		s := img.Where + " " + img.Ref.String()
		if img.Platform != nil {
			s += " " + img.Platform.String()
		}
		if img.From != "" {
			s += " < " + img.From
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
		{name: "registry with its transport", in: "docker://nginx:1.25\ndocker://quay.io/x/y@" + someDigest, want: []string{
			"l:1 docker.io/library/nginx:1.25", "l:2 quay.io/x/y@" + someDigest}},
		{name: "docker daemon", in: "docker-daemon:nginx:1.25\ndocker-daemon:localhost:5000/x\ndocker-daemon:y@" + someDigest, want: []string{
			"l:1 docker.io/library/nginx:1.25 < docker-daemon:", "l:2 localhost:5000/x:latest < docker-daemon:", "l:3 docker.io/library/y@" + someDigest + " < docker-daemon:"}},
		{name: "archives and layouts", in: "docker-archive:app.tar\ndocker-archive:a/b.tar.gz:nginx:1.25 # why\noci-archive:/x.tar:team/app@" + someDigest +
			"\noci:dir\n--platform=linux/arm64 oci:../dir:nginx", want: []string{
			"l:1  < docker-archive:app.tar", "l:2 docker.io/library/nginx:1.25 < docker-archive:a/b.tar.gz",
			"l:3 docker.io/team/app@" + someDigest + " < oci-archive:/x.tar", "l:4  < oci:dir", "l:5 docker.io/library/nginx:latest linux/arm64 < oci:../dir"}},
		{name: "as in lists of sealos", in: "docker-archive:file.tar@name:tag\ndocker-archive:user@host.tar.gz@reg:5000/n\ndocker-archive:user@host:n", want: []string{
			"l:1 docker.io/library/name:tag < docker-archive:file.tar", "l:2 reg:5000/n:latest < docker-archive:user@host.tar.gz",
			"l:3 docker.io/library/n:latest < docker-archive:user@host"}},
		{name: "names that only look like transports", in: "dir:v1\ndocker:27-dind\nlocalhost/oci:1", want: []string{
			"l:1 docker.io/library/dir:v1", "l:2 docker.io/library/docker:27-dind", "l:3 localhost/oci:1"}},
		{name: "places that cannot be", in: strings.Join([]string{"containers-storage:x:1", "docker-archive:", "docker-archive:a.tar:@0", "docker-archive:a.tar@@1", "oci:a:",
			"docker-daemon:", "docker-daemon:" + someDigest, "dir:/x", "sif:./x", "oci:dir:latest", "oci-archive:a.tar:v1.2", "docker-archive:a.tar:UPPER", "https://nginx", "- nginx:1", "images:"}, "\n"), errs: []string{
			`l:1: "containers-storage:x:1": the storage of podman and buildah is not read: write the image to a file with`,
			`l:2: "docker-archive:": docker-archive: without a path`, `l:3: "docker-archive:a.tar:@0": @0: images are not chosen by number: write docker-archive:a.tar:NAME`,
			`l:4: "docker-archive:a.tar@@1": @1: images are not chosen by number`, `l:5: "oci:a:": oci:a: without an image: leave out the colon`,
			`l:6: "docker-daemon:": docker-daemon: without an image: write docker-daemon:NAME:TAG`, `l:7: "docker-daemon:` + someDigest + `": docker-daemon:` + someDigest + ` is the ID of an image`,
			`l:8: "dir:/x": images are not read from dir: write docker-daemon:NAME`, `l:9: "sif:./x": images are not read from sif:`,
			`l:10: "oci:dir:latest": latest is no name by which a node can ask for the image: write oci:dir:NAME:latest`, `l:11: "oci-archive:a.tar:v1.2": v1.2 is no name`,
			`l:12: "docker-archive:a.tar:UPPER": image reference "UPPER"`, `l:13: "https://nginx": image reference "https://nginx": leave out https://`,
			`l:14: "- nginx:1": this looks like YAML`, `l:15: "images:": this looks like YAML`}},
		{name: "all bad lines at once", in: "a:1\nUPPER\n\nb c\n--platform=arm64 d\n--pull e\n--platform\n--platform=linux/arm64\nf@sha256:12", want: []string{"l:1 docker.io/library/a:1"}, errs: []string{
			`l:2: "UPPER"`, `l:4: "b c": more than one word`, `l:5: "--platform=arm64 d": platform "arm64"`, `l:6: "--pull e": unknown option --pull`,
			`l:7: "--platform": --platform without a value`, `l:8: "--platform=linux/arm64": no image reference`, `l:9: "f@sha256:12"`}},
		{name: "a line without end", in: "a:1\n" + strings.Repeat("x", maxLine+1), want: []string{"l:1 docker.io/library/a:1"}, errs: []string{"read l:2: "}},
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
