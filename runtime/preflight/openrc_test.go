package preflight_test

import (
	"strings"
	"testing"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/preflight"
)

func TestHostThatOpenRCRuns(t *testing.T) {
	for name, c := range map[string]struct {
		driver  runtime.Driver
		systemd bool
		brings  string
		init    string
		says    string
	}{
		"k3s":                       {driver: k3s.Driver{}, init: runtime.OpenRC},
		"k3s, and systemd is there": {driver: k3s.Driver{}, systemd: true},
		"an image with units":       {driver: k3s.Driver{}, brings: "etc/systemd/system/multi-user.target.wants/a.service", init: runtime.OpenRC, says: "a.service of the image is one of systemd"},
		"kubernetes":                {driver: kubernetes.Driver{}, init: runtime.OpenRC, says: "OpenRC runs its services, and kubernetes needs systemd"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTwo(t)
			x.c.Members = x.c.Members[:1]
			if c.brings != "" {
				x.c.Images[0].Paths = append(x.c.Images[0].Paths, c.brings)
			}
			x.a.WriteFile("/run/openrc/softlevel", 0o644, []byte("default\n"))
			if !c.systemd {
				x.a.Remove("/run/systemd/system")
			}
			r, err := preflight.Run(t.Context(), x.c, c.driver, map[string]host.Host{"10.0.0.1": x.a}, preflight.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := x.c.Members[0].Init; got != c.init {
				t.Errorf("its services are run by %q, want %q", got, c.init)
			}
			said := ""
			for _, f := range r.Findings {
				if strings.Contains(f.String(), "systemd") && !strings.Contains(f.String(), "cgroup") {
					said += f.String()
				}
			}
			if !strings.Contains(said, c.says) || c.says == "" && said != "" {
				t.Errorf("it says %q, want %q", said, c.says)
			}
		})
	}
}
