package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime/registry"
	"github.com/sealrt/sealrt/runtime/registry/mirrors"
)

// Where the image service lies on a host.
const (
	serviceDir  = Home + "/registry"
	serviceUnit = "sealrt-registry"
	// ServiceSettings is the file of settings that tells the service which other
	// files are its own.
	ServiceSettings = serviceDir + "/" + registry.SettingsFile
	// ServiceCert is the certificate of a host, as the service shows it.
	ServiceCert = serviceDir + "/" + registry.CertFile
	externalCA  = Home + "/registry-ca.crt" // not in serviceDir, which the service makes
	// serviceConfig is what the author of an image sets of the service.
	serviceConfig = "etc/registry_config.yml"
	serviceScript = "scripts/init-registry.sh"
)

// imageService is what a plan has to know of the image service beyond the
// specification.
type imageService struct {
	ca      []byte                   // certificate that hosts verify each other by
	pairs   map[string]registry.Pair // of the hosts, by Member.Address
	made    *registry.CA             // a new CA, which is not kept yet
	issued  []string                 // addresses of hosts whose certificate is not kept yet
	foreign []byte                   // certificates of the user's own registry
}

func (c *Cluster) readFile(name string) ([]byte, error) {
	if c.ReadFile != nil {
		return c.ReadFile(name)
	}
	return os.ReadFile(name)
}

// Serves reports whether the hosts run the image service.
func (c *Cluster) Serves() bool { return c.Registry.External == "" && !c.Registry.Script }

// PrepareImageService reads or makes what the image service of the hosts needs:
// their CA, and a certificate of a year for each host. With renew, new
// certificates are made for all hosts. Nothing is written before
// KeepImageService. Without it plans have no image service. Host names have to be
// known.
func (c *Cluster) PrepareImageService(s registry.Secrets, now time.Time, renew bool) error {
	p := &imageService{pairs: map[string]registry.Pair{}}
	if file := c.Registry.CAFile; file != "" && c.Registry.External != "" {
		raw, err := c.readFile(file)
		if err != nil {
			return fmt.Errorf("registry.caFile of the cluster: %w", err)
		}
		p.foreign = raw
	}
	if !c.Serves() {
		c.service = p
		return nil
	}
	ca, made, err := registry.LoadCA(s, c.Name, now)
	if err != nil {
		return err
	}
	if p.ca = ca.Certificate(); made {
		p.made = ca
	}
	for _, m := range c.Members {
		names := []string{m.NodeIP, m.Hostname, m.Name()}
		pair, ok, err := ca.LoadHost(s, m.Address, names, now)
		if err != nil {
			return err
		}
		if !ok || renew {
			if pair, err = ca.Issue(cmp.Or(m.Hostname, m.Name()), names, now); err != nil {
				return err
			}
			p.issued = append(p.issued, m.Address)
		}
		p.pairs[m.Address] = pair
	}
	c.service = p
	return nil
}

// KeepImageService writes what PrepareImageService made to the secrets of the
// cluster. It is called before a plan is carried out.
func (c *Cluster) KeepImageService(s registry.Secrets) error {
	p := c.service
	if p == nil {
		return nil
	}
	if p.made != nil {
		if err := p.made.Keep(s); err != nil {
			return err
		}
		p.made = nil
	}
	for _, address := range p.issued {
		if err := registry.KeepHost(s, address, p.pairs[address]); err != nil {
			return err
		}
	}
	p.issued = nil
	return nil
}

// ImageServicePorts returns the TCP ports that the image service of a host
// listens on.
func (c *Cluster) ImageServicePorts(m Member) ([]int, error) {
	if !c.Serves() {
		return nil, nil
	}
	config, err := c.ServiceConfig()
	if err != nil {
		return nil, err
	}
	ports := []int{config.Port}
	if m.Role == Master {
		ports = append(ports, config.MasterPort)
	}
	return ports, nil
}

// ImageConfig returns what the rootfs image sets of the image service. Its ports
// are those of the image that the cluster was made of: another image moves nobody
// to other ports, since hosts are upgraded one after another.
func (c *Cluster) ImageConfig() (registry.Config, error) {
	var config registry.Config
	made := c.Image().Service
	if files := c.Image().Files; files != nil {
		raw, err := fs.ReadFile(files, serviceConfig)
		if err == nil {
			raw, err = c.withConfig(serviceConfig, raw)
		}
		if err == nil {
			config, err = registry.ParseConfig(serviceConfig, raw)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return config, fmt.Errorf("%s: %w", c.Image().Ref.Familiar(), err)
		}
	} else if made != nil {
		config = *made
	}
	if made != nil {
		config.Port, config.MasterPort = made.Port, made.MasterPort
	}
	return config, nil
}

// ServiceConfig returns what the Clusterfile says of the image service, else the
// image, else the defaults.
func (c *Cluster) ServiceConfig() (registry.Config, error) {
	config, err := c.ImageConfig()
	config.Port = cmp.Or(c.Registry.Port, config.Port, registry.DefaultPort)
	config.MasterPort = cmp.Or(config.MasterPort, registry.DefaultMasterPort)
	config.Upstream = config.Upstream || c.Registry.Upstream
	return config, err
}

// imageService returns the steps that make a host answer its container runtime,
// and that point the runtime there.
func (r *Runtime) imageService(m Member) ([]Step, error) {
	if r.cluster.service == nil {
		return nil, nil
	}
	steps, err := ImageService(r.cluster, m)
	if err != nil {
		return nil, err
	}
	d, ok := r.driver.(Mirrorer)
	if !ok || r.cluster.Registry.Script {
		return steps, nil
	}
	to, err := r.cluster.Mirror()
	if err != nil {
		return nil, err
	}
	pointed, err := d.Mirror(r.cluster, m, to)
	return append(steps, pointed...), err
}

// ImageService returns the steps that make the image service run on a host. With
// a registry of the user's there are just the certificates to verify it by; with
// the image's own script, that runs instead. The masters of the cluster are no
// reason to restart the service: see TellMasters.
func ImageService(c *Cluster, m Member) ([]Step, error) {
	switch {
	case c.Registry.External != "":
		return externalRegistry(c), nil
	case c.Registry.Script:
		return registryScript(c, m)
	}
	config, err := c.ServiceConfig()
	if err != nil {
		return nil, err
	}
	settings := registry.Settings{Cluster: c.Name, Host: cmp.Or(m.Hostname, m.Name()), Port: config.Port}
	if m.Role == Master {
		settings.Listen = masterAddress(m, config)
	}
	text, err := settings.Format()
	if err != nil {
		return nil, err
	}
	identity, err := identitySteps(c, m)
	if err != nil {
		return nil, err
	}
	masters, err := mastersStep(c)
	if err != nil {
		return nil, err
	}
	unit, claimed := serviceUnitOf(m), Claim{Paths: []string{serviceDir}}
	if m.Init == OpenRC {
		claimed.IfAbsent = []string{openrcLog(serviceUnit)}
	}
	steps := append([]Step{{ID: "image service: directory", Do: claimed}}, identity...)
	return append(steps,
		masters,
		serviceFile("settings", registry.SettingsFile, []byte(text), false),
		unit,
		ServiceStep(serviceUnit, true, unit.Do.(Write).Data, text),
	), nil
}

// serviceUnitOf is the step that makes the service of a host's image service.
func serviceUnitOf(m Member) Step {
	do := Write{Path: "/etc/systemd/system/" + serviceUnit + ".service", Data: unitText, Mode: 0o644}
	if m.Init == OpenRC {
		do = Write{Path: OpenRCScript(serviceUnit), Mode: 0o755, Data: OpenRCService(serviceUnit, "sealrt image service", serviceCommand, nil)}
	}
	return Step{ID: "image service: unit", Do: do}
}

// identitySteps bring a host the certificates by which it and the others know
// each other. The service reads them again when they change.
func identitySteps(c *Cluster, m Member) ([]Step, error) {
	pair, ok := c.service.pairs[m.Address]
	if !ok {
		return nil, fmt.Errorf("host %s has no certificate for the image service", m.Name())
	}
	return []Step{
		serviceFile("CA", registry.CAFile, c.service.ca, false),
		serviceFile("certificate", registry.CertFile, pair.Cert, false),
		serviceFile("key", registry.KeyFile, pair.Key, true),
	}, nil
}

func serviceFile(what, name string, data []byte, secret bool) Step {
	return Step{ID: "image service: " + what, Do: Write{Path: path.Join(serviceDir, name), Data: string(data), Mode: 0o600, Secret: secret}}
}

// RenewImageService plans bringing the members that answer the certificates that
// PrepareImageService made. Nothing is restarted for it.
func (r *Runtime) RenewImageService() (Plan, error) {
	if r.cluster.service == nil || !r.cluster.Serves() {
		return Plan{}, nil
	}
	tasks, err := each(r.cluster.up(r.cluster.Members), func(m Member) ([]Step, error) { return identitySteps(r.cluster, m) })
	return Plan{Phases: []Phase{{Name: "renew", Tasks: tasks}}}, err
}

// masterAddress is where a master answers other hosts.
func masterAddress(m Member, config registry.Config) string {
	return net.JoinHostPort(cmp.Or(m.NodeIP, m.Name()), strconv.Itoa(config.MasterPort))
}

// mastersStep tells a host which masters there are.
func mastersStep(c *Cluster) (Step, error) {
	config, err := c.ServiceConfig()
	if err != nil {
		return Step{}, err
	}
	var list []string
	for _, m := range c.Masters() {
		list = append(list, masterAddress(m, config))
	}
	slices.Sort(list)
	return Step{ID: "image service: masters", Do: Write{Path: path.Join(serviceDir, registry.MastersFile), Data: registry.FormatMasters(list), Mode: 0o600}}, nil
}

// TellMasters plans telling members which masters there are, after masters came
// or went. Nothing is restarted for it.
func (r *Runtime) TellMasters(members []Member) (Plan, error) {
	if r.cluster.service == nil || !r.cluster.Serves() {
		return Plan{}, nil
	}
	tasks, err := each(members, func(Member) ([]Step, error) {
		step, err := mastersStep(r.cluster)
		return []Step{step}, err
	})
	return Plan{Phases: []Phase{{Name: "image service", Tasks: tasks}}}, err
}

// serviceCommand runs the image service.
const serviceCommand = HelperPath + " registry serve --settings " + ServiceSettings

// unitText is the service's unit. It starts before anything asks for images, and
// needs nothing but loopback. It says when it answers, so that a port which
// somebody else has stops an installation; at a boot it tries again for ever.
const unitText = `# Written by sealrt.
[Unit]
Description=sealrt image service
Documentation=https://github.com/sealrt/sealrt
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=` + serviceCommand + `
Restart=always
RestartSec=1
Environment=HOME=/root
NoNewPrivileges=yes
OOMScoreAdjust=-900
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
`

// externalRegistry puts the certificates of the user's registry on a host.
func externalRegistry(c *Cluster) []Step {
	if c.service == nil || len(c.service.foreign) == 0 {
		return nil
	}
	places := []string{externalCA}
	if c.Runtime == "docker" { // which reads it there (docs.docker.com, "Verify repository client with certificates")
		at, _, _ := strings.Cut(c.Registry.External, "/")
		places = append(places, path.Join("/etc/docker/certs.d", at, "ca.crt"))
	}
	var steps []Step
	for _, p := range places {
		steps = append(steps, Step{ID: "registry CA " + p, Do: Write{Path: p, Data: string(c.service.foreign), Mode: 0o644}})
	}
	return steps
}

// registryScript runs the image's own way of having a registry.
func registryScript(c *Cluster, m Member) ([]Step, error) {
	i := c.Image()
	if !slices.Contains(i.Paths, serviceScript) {
		return nil, fmt.Errorf("the cluster says registry.script, and %s has no %s: leave registry.script out", i.Ref.Familiar(), serviceScript)
	}
	return []Step{c.ScriptStep("registry script", "install", m, serviceScript)}, nil
}

// Mirror returns where the hosts' container runtimes are to get images from: the
// registries are those that the images inside the cluster's images are named
// after.
func (c *Cluster) Mirror() (Mirror, error) {
	var names []string
	for _, i := range c.Images {
		names = append(names, i.Images...)
	}
	registries, err := mirrors.Registries(names)
	if err != nil {
		return Mirror{}, fmt.Errorf("container images of the cluster: %w", err)
	}
	config, err := c.ServiceConfig()
	if err != nil {
		return Mirror{}, err
	}
	m := Mirror{Registries: registries, Upstream: config.Upstream}
	if external := c.Registry.External; external != "" {
		if _, err := artifact.ParseReference(strings.TrimSuffix(external, "/") + "/image:tag"); err != nil {
			return Mirror{}, fmt.Errorf("registry.external %q: %w", external, err)
		}
		m.Endpoint = "https://" + strings.TrimSuffix(external, "/")
		if c.service != nil && len(c.service.foreign) > 0 {
			m.CAFile = externalCA
		}
		return m, nil
	}
	m.Endpoint = "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(config.Port))
	m.Others = true
	return m, nil
}

// FileSteps returns steps that write files, such as those of package mirrors. What
// only its owner may read is not shown: it may hold passwords of registries.
func FileSteps(files []mirrors.File) []Step {
	var steps []Step
	for _, f := range files {
		steps = append(steps, Step{ID: "file " + f.Path, Do: Write{Path: f.Path, Data: f.Data, Mode: f.Mode, Secret: f.Mode.Perm()&0o077 == 0}})
	}
	return steps
}
