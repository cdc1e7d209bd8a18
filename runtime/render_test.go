package runtime_test

import (
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

func TestTemplatesSeeTheClusterAndTheHost(t *testing.T) {
	i := rootfs(nil)
	i.Env, i.Labels = []string{"MODE=image", "ZONE=image", "SIZE=1"}, map[string]string{"team": "infra"}
	for text, want := range map[string]string{
		"{{ .Host.Address }} {{ .Host.NodeIP }} {{ .Host.Role }} {{ .Host.Hostname }}":                                                         "10.0.0.2 10.0.0.2 node b",
		"{{ .Host.Arch }} {{ .Host.Env.ZONE }}":                                                                                                "arm64 b",
		"{{ .Cluster.Name }} {{ .Cluster.Network.ClusterDNS }}":                                                                                "test 10.43.0.10",
		"{{ range .Masters }}{{ .NodeIP }},{{ end }}":                                                                                          "10.0.0.1,",
		"{{ .Registry.Endpoint }}|{{ .Registry.CAFile }}|{{ .Registry.Prefix }}":                                                               "http://127.0.0.1:5000||",
		"{{ .Image.Labels.team }} {{ .Image.Env.MODE }} {{ .Image.Kind.Version }}":                                                             "infra image v1",
		"{{ .Env.MODE }} {{ .Env.ZONE }} {{ .Env.SIZE }}":                                                                                      "user b 1",
		`{{ .Env.MODE | upper | quote }} {{ image "nginx:1.25" }}`:                                                                             `"USER" nginx:1.25`,
		`{{ get .Env "MODE" }}{{ get .Env "GONE" }} {{ hasKey .Env "GONE" }} {{ get (dict "a" 1) "a" }} {{ index .Env "GONE" | default "x" }}`: "user false 1 x",
	} {
		x := clusterOf(treeImage("k3s:v1", artifact.TypeRootfs, map[string]string{"etc/x.tmpl": text}))
		x.Images[0].Env, x.Images[0].Labels = i.Env, i.Labels
		x.Env, x.Network.ClusterDNS, x.Registry.Port = map[string]string{"MODE": "user", "ZONE": "user"}, "10.43.0.10", 5000
		x.Members[1].Arch, x.Members[1].Env = "arm64", map[string]string{"ZONE": "b"}
		got, err := x.Render("etc/x.tmpl", x.Members[1])
		if got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	x := clusterOf(treeImage("k3s:v1", artifact.TypeRootfs, map[string]string{"etc/x.tmpl": "{{ .Registry.Endpoint }} {{ .Registry.CAFile }}"}))
	x.Registry = clusterfile.Registry{External: "harbor.example.com/k8s", CAFile: "/etc/ca.pem"}
	if got, err := x.Render("etc/x.tmpl", memberA); got != "https://harbor.example.com /etc/ca.pem" || err != nil {
		t.Errorf("an external registry: %q, %v", got, err)
	}
}

func TestTemplateThatAsksForWhatIsNotThereIsAnErrorWithItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"a\nb: {{ .Env.GONE }}":           "etc/x.yaml.tmpl:2:",
		"a\n\nb: {{ .Host.Env.GONE }}":    "etc/x.yaml.tmpl:3:",
		"{{ .Hosts }}":                    "etc/x.yaml.tmpl:1:",
		"\n{{ .Image.Labels.gone }}":      "etc/x.yaml.tmpl:2:",
		"\n{{ if }}":                      "etc/x.yaml.tmpl:2:",
		"{{ env \"HOME\" }}":              `function "env" not defined`,
		"{{ now }}":                       `function "now" not defined`,
		"{{ expandenv \"$HOME\" }}":       `function "expandenv" not defined`,
		"{{ getHostByName \"a\" }}":       `function "getHostByName" not defined`,
		"{{ randAlphaNum 8 }}":            `function "randAlphaNum" not defined`,
		"{{ genPrivateKey \"rsa\" }}":     `function "genPrivateKey" not defined`,
		"{{ htpasswd \"a\" \"b\" }}":      `function "htpasswd" not defined`,
		"{{ shuffle \"abc\" }}":           `function "shuffle" not defined`,
		"{{ get .Masters \"a\" }}":        "is no map",
		"\xff\xfe\x00binary":              "template etc/x.yaml.tmpl: it is no text",
		"{{ .Cluster.Network.PodCIDRR }}": "etc/x.yaml.tmpl:1:",
	} {
		x := clusterOf(rootfs(map[string]string{"etc/x.yaml.tmpl": text}))
		if _, err := x.Render("etc/x.yaml.tmpl", memberA); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "k3s:v1: ") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestRenderedFilesLieBesideTheReadOnlyTree(t *testing.T) {
	bed := newBed(t)
	files := map[string]string{
		"manifests/a.yaml":                                     object("A"),
		"manifests/b.yaml.tmpl":                                object("B") + "host: {{ .Host.Hostname }}\n",
		"manifests/c.yaml":                                     object("C") + "x: 1\n",
		"charts/shop.values.yaml.tmpl":                         "tz: {{ .Env.TZ }}\n",
		"charts/shop/Chart.yaml":                               "name: shop\n",
		"charts/shop/values.yaml.tmpl":                         "v: {{ 1 }}\n",
		"charts/shop/files/own.tmpl":                           "{{ of.the.chart }}",
		"charts/shop/templates/x.tmpl":                         "{{ of.the.chart }}",
		"etc/limits.d/9.conf.tmpl":                             "host={{ .Host.Hostname }}\n",
		"etc/limits.d/x.conf":                                  "limit\n",
		"etc/systemd/system/x.service":                         "[Unit]\n",
		"custom.yaml":                                          object("Z"),
		"etc/driver.yaml.tmpl":                                 "{{ .Grant.token }}",
		"etc/node/password":                                    "\n",
		"manifests/imageList":                                  "",
		"etc/systemd/system/multi-user.target.wants/x.service": "[Unit]\n",
	}
	x := clusterOf(rootfs(files))
	x.Env = map[string]string{"TZ": "UTC"}
	x.Config = []clusterfile.Config{{Path: "manifests/c.yaml", Data: map[string]any{"x": 2}}}
	delivered(bed, x)
	plan := created(t, x)
	if err := bed.Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	tree, beside := x.Image().Rootfs(), x.Image().Rendered()
	for name, want := range map[string]string{
		beside + "/manifests/b.yaml":        object("B") + "host: b\n",
		beside + "/manifests/c.yaml":        object("C") + "x: 2\n",
		beside + "/charts/shop.values.yaml": "tz: UTC\n",
		beside + "/charts/shop/values.yaml": "v: 1\n",
		"/etc/security/limits.d/9.conf":     "host=b\n",
		"/etc/security/limits.d/x.conf":     "limit\n",
		"/etc/systemd/system/x.service":     "[Unit]\n",
	} {
		if got, _, err := bed.b.File(name); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, f := range bed.b.Files() {
		if strings.HasPrefix(f, beside) && strings.Contains(f, "own") {
			t.Errorf("%s is the chart's own", f)
		}
	}
	var applied []string
	for _, line := range story(plan) {
		if _, file, ok := strings.Cut(line, "kubectl apply --server-side --field-manager=sealrt -f "); ok {
			applied = append(applied, file)
		}
	}
	want := []string{tree + "/manifests/a.yaml", beside + "/manifests/b.yaml", beside + "/manifests/c.yaml", tree + "/custom.yaml"}
	if diff := cmp.Diff(want, applied); diff != "" {
		t.Error(diff)
	}
	if count(bed.b, "systemctl enable x") != 1 || count(bed.b, "systemctl restart x") != 1 {
		t.Error("the service that the image enables does not run")
	}
}

func TestObjectsAreAppliedAgainWhenTheirTemplateBecomesAnother(t *testing.T) {
	bed := newBed(t)
	x := clusterOf(rootfs(map[string]string{"manifests/b.yaml.tmpl": object("B") + "tz: {{ .Env.TZ }}\n", "manifests/c.yaml": object("C")}))
	for _, tz := range []string{"UTC", "UTC", "CET"} {
		x.Env = map[string]string{"TZ": tz}
		delivered(bed, x)
		if err := bed.engine().Run(t.Context(), created(t, x)); err != nil {
			t.Fatal(err)
		}
	}
	if b, c := count(bed.a, "manifests/b.yaml"), count(bed.a, "-f "+x.Image().Rootfs()+"/manifests/c.yaml"); c != 1 || count(bed.a, "kubectl apply --server-side --field-manager=sealrt") != 3 {
		t.Errorf("applied %d and %d times", b, c)
	}
}

func TestDryRunShowsWhatTemplatesBecomeWithoutSecrets(t *testing.T) {
	x := clusterOf(rootfs(map[string]string{
		"manifests/a.yaml.tmpl":    object("A") + "password: {{ .Env.DB_PASSWORD }}\nkey: {{ .Host.Env.API_TOKEN }}\ntz: {{ .Env.TZ }}\n",
		"etc/limits.d/9.conf.tmpl": "host={{ .Host.Hostname }}\n",
	}))
	x.Env = map[string]string{"DB_PASSWORD": "hunter2", "TZ": "UTC"}
	for i := range x.Members {
		x.Members[i].Env = map[string]string{"API_TOKEN": "hunter22"}
	}
	var out strings.Builder
	if err := created(t, x).WriteRendered(&out, x.Secrets()); err != nil {
		t.Fatal(err)
	}
	want := "/etc/security/limits.d/9.conf from etc/limits.d/9.conf.tmpl (10.0.0.1)\n  | host=a\n" +
		x.Image().Rendered() + "/manifests/a.yaml from manifests/a.yaml.tmpl (10.0.0.1, 10.0.0.2)\n  | apiVersion: v1\n  | kind: A\n  | metadata: {name: a}\n  | password: ***\n  | key: ***\n  | tz: UTC\n" +
		"/etc/security/limits.d/9.conf from etc/limits.d/9.conf.tmpl (10.0.0.2)\n  | host=b\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestPasswordOfNodesInAnImageIsRefused(t *testing.T) {
	x := clusterOf(rootfs(map[string]string{"etc/node/password": "shared\n"}))
	if _, err := lifeOf(t, x).Create(); err == nil || !strings.Contains(err.Error(), "etc/node/password is not empty") {
		t.Error(err)
	}
}

func TestRenderAloneHasNoHosts(t *testing.T) {
	view := runtime.RegistryView{Endpoint: "https://harbor.example.com", Prefix: "harbor.example.com/mine"}
	app := treeImage("shop:v7", artifact.TypeApp, map[string]string{
		"etc/a.conf.tmpl": `{{ .Env.A }} {{ .Image.Labels.l }} {{ image "docker.io/library/nginx:1.25" }} {{ .Registry.Prefix }}`,
	})
	app.Env, app.Labels = []string{"A=1"}, map[string]string{"l": "x"}
	got, err := runtime.RenderAlone(app, map[string]string{"A": "2"}, view)
	if diff := cmp.Diff(map[string]string{"etc/a.conf": "2 x harbor.example.com/mine/library/nginx:1.25 harbor.example.com/mine"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	app = treeImage("shop:v7", artifact.TypeApp, map[string]string{"etc/a.conf.tmpl": "x\n{{ .Host.Hostname }}"})
	if _, err := runtime.RenderAlone(app, nil, view); err == nil || !strings.Contains(err.Error(), "etc/a.conf.tmpl:2:") || !strings.Contains(err.Error(), "there are .Registry, .Image and .Env") {
		t.Error(err)
	}
}

func TestOpenImageKnowsProgramsAndTemplatesOfCharts(t *testing.T) {
	link := file("scripts/hooks/pre-install.d/link", "")
	link.Mode, link.Linkname, link.Open = fs.ModeSymlink|0o777, "../run", nil
	run := file("scripts/hooks/pre-install.d/run", "#!/bin/sh\n")
	run.Mode = 0o755
	store, ref := image(t, entries(link, run, file("scripts/hooks/pre-install.d/text", "x"), file("charts/a.values.yaml.tmpl", "a: 1"), file("charts/a/values.yaml", "a: 1")))
	i, err := runtime.OpenImage(t.Context(), store, ref, linuxAMD64)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"link", "run"}, []string{path.Base(i.Programs[0]), path.Base(i.Programs[1])}); diff != "" || len(i.Programs) != 2 {
		t.Error(diff, i.Programs)
	}
	if raw, err := fs.ReadFile(i.Files, "charts/a.values.yaml.tmpl"); string(raw) != "a: 1" || err != nil {
		t.Error(string(raw), err)
	}
	if _, err := fs.Stat(i.Files, "charts/a/values.yaml"); err == nil {
		t.Error("all of a chart is read")
	}
}
