package find

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestTemplates(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n"
	for name, c := range map[string]struct{ text, want, note string }{
		"default": {
			text: "{{- $r := .Env.REGISTRY -}}\n{{/* the first\nlines */}}\n" + pod + "  - image: {{ $r }}/a:1\n",
			want: "manifests/t.yaml.tmpl:8 registry.example.com/a:1",
		},
		"range and if": {
			text: pod + "{{ range until 2 }}\n  - name: c{{ . }}\n    image: \"a:{{ . }}\"\n{{ end }}\n{{ if false }}\n  - image: x\n{{ else }}\n  - image: b:1\n{{- end }}\n  - {{ with \"x\" }}image: c:1{{ end }}\n",
			want: "manifests/t.yaml.tmpl:7 docker.io/library/a:0\nmanifests/t.yaml.tmpl:7 docker.io/library/a:1\nmanifests/t.yaml.tmpl:12 docker.io/library/b:1\nmanifests/t.yaml.tmpl:14 docker.io/library/c:1",
		},
		"part": {
			text: "{{ define \"c\" }}\n  - image: a:{{ . }}\n{{ end }}" + pod + "{{ template \"c\" \"1\" }}\n",
			want: "manifests/t.yaml.tmpl:2 docker.io/library/a:1",
		},
		"value of several lines": {
			text: pod + "{{ .Env.CONTAINERS }}\n  - image: z:1\n",
			want: "manifests/t.yaml.tmpl:5 docker.io/library/x:1\nmanifests/t.yaml.tmpl:5 docker.io/library/y:1\nmanifests/t.yaml.tmpl:6 docker.io/library/z:1",
		},
		"sprig": {
			text: pod + "  - image: {{ .Env.REGISTRY | upper | lower }}/a:{{ default \"2\" \"\" }}",
			want: "manifests/t.yaml.tmpl:5 registry.example.com/a:2",
		},
		"cluster": {
			text: pod + "  - image: a:1\n    args: [{{ .Host.Address }}]",
			note: `manifests/t.yaml.tmpl:6: what this template becomes is not known before there is a cluster: <.Host.Address>: map has no entry for key "Host": name its images in manifests/imageList`,
		},
		"setting": {
			text: "\n{{ .Env.TAG }}",
			note: `manifests/t.yaml.tmpl:2: what this template becomes is not known before there is a cluster: <.Env.TAG>: map has no entry for key "TAG": name its images in manifests/imageList`,
		},
		"syntax": {
			text: "\n\n{{ if }}",
			note: `manifests/t.yaml.tmpl:3: what this template becomes is not known before there is a cluster: missing value for if: name its images in manifests/imageList`,
		},
		"endless": {
			text: "{{ range until 100000 }}{{ range until 100000 }}xxxxxxxxxxxxxxxx{{ end }}{{ end }}",
			note: `manifests/t.yaml.tmpl:1: what this template becomes is not known before there is a cluster: it becomes more than 67108864 bytes: name its images in manifests/imageList`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var notes []string
			images, err := Images(context.Background(), fstest.MapFS{"manifests/t.yaml.tmpl": {Data: []byte(c.text)}, "manifests/x.tmpl": {Data: []byte("{{ nonsense")}},
				Options{
					Env:  map[string]string{"REGISTRY": "registry.example.com", "CONTAINERS": "  - image: x:1\n  - image: y:1"},
					Note: func(s string) { notes = append(notes, s) },
				})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, strings.Join(texts(images), "\n")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.note, strings.Join(notes, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
