package layer

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// foreign is a layer as another tool writes it: in an order of its own, with owners, times and hard links.
func foreign(t *testing.T, hdrs ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, hdr := range hdrs {
		content := ""
		if hdr.Typeflag == tar.TypeReg {
			content = "content of " + hdr.Name
			hdr.Size = int64(len(content))
		}
		if err := w.WriteHeader(&hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRewriteKeepsWhatIsNotLeftOut(t *testing.T) {
	at := time.Unix(1700000000, 0)
	in := foreign(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./scripts/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 7, Gid: 8, ModTime: at},
		tar.Header{Name: "./scripts/init.sh", Typeflag: tar.TypeReg, Mode: 0o4755, ModTime: at.Add(time.Millisecond), Uname: "me", Format: tar.FormatPAX, PAXRecords: map[string]string{capabilityRecord: "x", "SCHILY.xattr.user.a": "b"}},
		tar.Header{Name: "./scripts/again.sh", Typeflag: tar.TypeLink, Linkname: "./scripts/init.sh"},
		tar.Header{Name: "./registry/data", Typeflag: tar.TypeReg, Mode: 0o644},
		tar.Header{Name: "./.wh.gone", Typeflag: tar.TypeReg},
		tar.Header{Name: "./bin/sh", Typeflag: tar.TypeSymlink, Linkname: "/bin/bash"},
	)
	for _, compression := range []Compression{Zstd, Gzip, None} {
		var out bytes.Buffer
		var read string
		blob, entries, err := Rewrite(t.Context(), &out, bytes.NewReader(in), Options{Compression: compression}, func(hdr *tar.Header, content io.Reader) (io.Reader, error) {
			if strings.HasPrefix(hdr.Name, "registry/") {
				b, err := io.ReadAll(content)
				read = string(b)
				return nil, err
			}
			return content, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if entries != 5 || read != "content of ./registry/data" || blob.Size != int64(out.Len()) || blob.MediaType != compression.MediaType() {
			t.Errorf("%v: %d entries, read %q, %+v", compression, entries, read, blob)
		}
		var got []string
		err = Walk(t.Context(), &out, func(hdr *tar.Header, content io.Reader) error {
			b, err := io.ReadAll(content)
			got = append(got, strings.Join([]string{hdr.Name, hdr.Linkname, fileMode(hdr.Mode).String(), hdr.ModTime.UTC().Format(time.RFC3339Nano), hdr.Uname, string(b), hdr.PAXRecords[capabilityRecord], hdr.PAXRecords["SCHILY.xattr.user.a"]}, "|"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		zero := "1970-01-01T00:00:00Z"
		want := []string{
			"scripts||-rwxr-x---|2023-11-14T22:13:20Z||||",
			"scripts/init.sh||urwxr-xr-x|2023-11-14T22:13:20Z||content of ./scripts/init.sh|x|",
			"scripts/again.sh|scripts/init.sh|----------|" + zero + "||||",
			".wh.gone||----------|" + zero + "||content of ./.wh.gone||",
			"bin/sh|/bin/bash|----------|" + zero + "||||",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", compression, diff)
		}
	}
}

func TestRewriteRefusesWhatItCannotTakeOver(t *testing.T) {
	tests := []struct {
		name string
		hdrs []tar.Header
		want string
	}{
		{"device", []tar.Header{{Name: "dev/null", Typeflag: tar.TypeChar}}, "devices"},
		{"link to what is left out", []tar.Header{{Name: "left", Typeflag: tar.TypeReg}, {Name: "a", Typeflag: tar.TypeLink, Linkname: "left"}}, "hard link to left"},
		{"link that leaves", []tar.Header{{Name: "a", Typeflag: tar.TypeLink, Linkname: "../b"}}, "leaves the image"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := Rewrite(t.Context(), io.Discard, bytes.NewReader(foreign(t, test.hdrs...)), Options{}, func(hdr *tar.Header, content io.Reader) (io.Reader, error) {
				if hdr.Name == "left" {
					return nil, nil
				}
				return content, nil
			})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
