package runtime

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime/certificates"
	"github.com/sealrt/sealrt/runtime/registry"
)

// Renewal says how the certificates of a cluster are renewed.
type Renewal struct {
	// ID tells this renewal from others: what was done for it is not done again.
	ID string
	// CA is the address of the master on which new CAs are made before all other
	// certificates. "": the CAs stay.
	CA string
	// Down says that the cluster does not answer. Its masters are renewed at once
	// then: one that waits for others with old certificates would wait for ever.
	Down bool
}

// Env marks the commands of a renewal.
func (r Renewal) Env() []string { return []string{"SEALRT_RENEWAL=" + r.ID} }

// Certificates is where a host has certificates of a distribution.
type Certificates struct {
	Files     []string // patterns (path/filepath.Match) of PEM files, kubeconfigs and Secrets
	Endpoints []certificates.Endpoint
	Fresh     []string // those of the files that a renewal makes anew in any case
}

// APIEndpoint is the name of the endpoint at which a master answers for the
// cluster.
const APIEndpoint = "API"

// certNote has the certificates that a host had before a renewal.
const certNote = Scratch + "/certificates.json"

// ServiceCertificates is where a host has those of the image service.
func (c *Cluster) ServiceCertificates(m Member) (Certificates, error) {
	if !c.Serves() {
		return Certificates{}, nil
	}
	config, err := c.ServiceConfig()
	if err != nil {
		return Certificates{}, err
	}
	out := Certificates{Files: []string{path.Join(serviceDir, registry.CAFile), ServiceCert}}
	if m.Role == Master {
		out.Endpoints = []certificates.Endpoint{{
			Name: "image-service", Address: masterAddress(m, config), File: ServiceCert, Cert: ServiceCert, Key: path.Join(serviceDir, registry.KeyFile),
		}}
	}
	return out, nil
}

// UpdateCert plans renewing the certificates: masters one after another, each
// answering with new ones before the next, then the nodes that answer,
// spec.batch at a time, which get theirs from the masters.
func (r *Runtime) UpdateCert(how Renewal) (Plan, error) {
	renewer, ok := r.driver.(Renewer)
	if !ok {
		return Plan{}, r.unsupported("renewing certificates")
	}
	if err := r.mastersAnswer(); err != nil {
		return Plan{}, err
	}
	plan, err := r.deliverImages(r.living())
	if err != nil {
		return Plan{}, err
	}
	if how.CA != "" {
		ca, err := r.rotateCA(how)
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(ca)
	}
	masters, nodes := r.mastersInTurn(1), r.cluster.up(r.cluster.Nodes())
	if how.Down {
		masters = r.mastersInTurn(len(r.cluster.Masters()))
	}
	for _, batch := range masters {
		one, err := r.renew(renewer, "renew master", batch, how)
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(one)
	}
	for batch := range slices.Chunk(nodes, max(1, r.cluster.Batch)) {
		some, err := r.renew(renewer, "renew nodes", batch, how)
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(some)
	}
	return plan.strict(), nil
}

// AddNames plans that the API's certificate is for all that spec.tlsSANs names,
// on one master after another.
func (r *Runtime) AddNames() (Plan, error) {
	namer, ok := r.driver.(Namer)
	if !ok {
		return Plan{}, r.unsupported("adding names to the API's certificate")
	}
	if err := r.mastersAnswer(); err != nil {
		return Plan{}, err
	}
	plan, err := r.deliverImages(r.cluster.Masters())
	if err != nil {
		return Plan{}, err
	}
	for _, batch := range r.mastersInTurn(1) {
		m := batch[0]
		steps, err := namer.AddNames(r.cluster, m)
		if err != nil {
			return Plan{}, fmt.Errorf("%s: %w", m.Name(), err)
		}
		plan = plan.Then(r.on(m, "add names", steps)).Then(r.answers(batch)).Then(r.shows(namer, m))
	}
	shown, err := r.published(r.cluster)
	return plan.Then(shown).strict(), err
}

// mastersAnswer refuses to stop masters while others are silent: the cluster may
// need the vote of each that is left.
func (r *Runtime) mastersAnswer() error {
	silent := slices.DeleteFunc(r.cluster.Masters(), func(m Member) bool { return !r.cluster.Down[m.Address] })
	if len(silent) == 0 {
		return nil
	}
	return fmt.Errorf("%s %s not answer, and each master is stopped for a moment: bring it back first, or delete it (sealrt delete --force)", names(silent), verb(len(silent), "does", "do"))
}

// mastersInTurn returns the masters so many at a time, the acting one last: it
// answers for the others.
func (r *Runtime) mastersInTurn(n int) [][]Member {
	acting := r.cluster.ActingMaster()
	masters := slices.DeleteFunc(r.cluster.Masters(), func(m Member) bool { return m.Address == acting.Address })
	return slices.Collect(slices.Chunk(append(masters, acting), n))
}

// rotateCA has the cluster make new CAs.
func (r *Runtime) rotateCA(how Renewal) (Plan, error) {
	rotator, ok := r.driver.(CARotator)
	if !ok {
		return Plan{}, r.unsupported("rotating CAs")
	}
	i := slices.IndexFunc(r.cluster.Masters(), func(m Member) bool { return m.Address == how.CA })
	switch {
	case i < 0:
		return Plan{}, fmt.Errorf("the new CAs were made on %s, which is no master any more", how.CA)
	case how.Down:
		return Plan{}, fmt.Errorf("no master answers for the cluster, which has to keep new CAs: renew the other certificates first (sealrt cert renew)")
	}
	steps, err := rotator.RotateCA(r.cluster, how)
	return r.on(r.cluster.Masters()[i], "rotate CAs", steps), err
}

// renew renews hosts at once, and waits until they answer with what is new.
func (r *Runtime) renew(renewer Renewer, name string, members []Member, how Renewal) (Plan, error) {
	tasks, err := each(members, func(m Member) ([]Step, error) {
		steps, err := renewer.Renew(r.cluster, m, how)
		if err != nil || len(steps) == 0 {
			return nil, err
		}
		return append([]Step{noteStep(renewer.Certificates(r.cluster, m), steps)}, steps...), nil
	})
	if err != nil || len(tasks) == 0 {
		return Plan{}, err
	}
	gate, err := each(members, func(Member) ([]Step, error) {
		return []Step{{ID: "serving new certificates", Do: Await{
			Argv: []string{HelperPath, "host", "certs", "--renewed", certNote}, Timeout: r.readyLimit(),
		}}}, nil
	})
	plan := Plan{Phases: []Phase{{Name: name, Tasks: tasks}}}.Then(r.answers(members))
	return plan.Then(Plan{Phases: []Phase{{Name: "serving", Tasks: gate}}}), err
}

// noteStep keeps on a host what it shows before the steps that renew it, and where
// that is to be another one then. An endpoint shows its certificate to anybody.
func noteStep(where Certificates, steps []Step) Step {
	where.Endpoints = slices.Clone(where.Endpoints)
	for i := range where.Endpoints {
		where.Endpoints[i].Cert, where.Endpoints[i].Key = "", ""
	}
	i := max(0, slices.IndexFunc(steps, func(s Step) bool { return s.With == "" }))
	return Step{ID: "note certificates", With: steps[i].ID, Again: true, Do: Exec{Argv: certsCommand(where, "--note", certNote)}}
}

// answers waits until members answer: masters for themselves, and all of them as
// the cluster tells it.
func (r *Runtime) answers(members []Member) Plan {
	phase := Phase{Name: "answers"}
	for _, m := range members {
		if m.Role == Master {
			phase.Tasks = append(phase.Tasks, Task{Member: m, Steps: []Step{{ID: "API answers", Do: Await{
				Argv: r.driver.Kubectl("get", "--raw", "/readyz"), Timeout: r.readyLimit(),
			}}}})
		}
	}
	if len(phase.Tasks) == 0 {
		return r.awaitReady("ready", members)
	}
	return Plan{Phases: []Phase{phase}}.Then(r.awaitReady("ready", members))
}

// shows waits until the API of a master shows a certificate with all names.
func (r *Runtime) shows(namer Namer, m Member) Plan {
	where := namer.Certificates(r.cluster, m)
	where.Fresh = nil
	i := slices.IndexFunc(where.Endpoints, func(e certificates.Endpoint) bool { return e.Name == APIEndpoint })
	if i < 0 {
		return Plan{}
	}
	api := where.Endpoints[i]
	api.Cert, api.Key = "", ""
	where.Endpoints = []certificates.Endpoint{api}
	return r.on(m, "serving", []Step{{ID: "API shows its names", Do: Await{
		Argv: certsCommand(where, "--names", strings.Join(r.cluster.TLSSANs, ",")), Timeout: r.readyLimit(),
	}}})
}

// readyLimit is how long a host may take to answer again.
func (r *Runtime) readyLimit() time.Duration {
	return timeout(r.cluster.Timeouts.Ready, readyTimeout)
}

// certsCommand asks a host what it shows.
func certsCommand(where Certificates, args ...string) []string {
	argv := append([]string{HelperPath, "host", "certs"}, args...)
	for _, e := range where.Endpoints {
		argv = append(argv, "--endpoint", e.String())
	}
	return append(argv, where.Fresh...)
}

// Reading is the command that prints all certificates of a host as JSON: a list
// of [certificates.Certificate].
func (c Certificates) Reading() []string {
	c.Fresh = c.Files
	return certsCommand(c)
}
