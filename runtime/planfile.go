package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// PlanKind is the kind of the document that SavedPlan is.
const PlanKind = "Plan"

// SavedPlan is a forecast with all that it was computed from. It holds no
// secret and no content of files: who applies it plans again, and the hashes
// tell whether that is the same plan.
type SavedPlan struct {
	APIVersion string                `json:"apiVersion"`
	Kind       string                `json:"kind"`
	Version    string                `json:"sealrt"` // the program's, which may plan otherwise than another
	Made       time.Time             `json:"made"`
	Asked      *clusterfile.Document `json:"clusterfile"` // what the cluster is to be like
	Base       Base                  `json:"base"`
	Forecast   Forecast              `json:"plan"`
}

// Base is what a plan stands on, beside the hosts.
type Base struct {
	Revision int64             `json:"revision"` // of the cluster as it is known
	Known    string            `json:"known"`    // digest of the Clusterfile that is kept of it; "" when there is none
	Images   map[string]string `json:"images"`   // digests of the images, by reference
}

// Write writes the plan as a document.
func (s SavedPlan) Write(w io.Writer) error {
	s.APIVersion, s.Kind = clusterfile.APIVersion, PlanKind
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(s)
}

// ReadPlan reads what SavedPlan.Write wrote.
func ReadPlan(r io.Reader) (SavedPlan, error) {
	var s SavedPlan
	dec := json.NewDecoder(r)
	if err := dec.Decode(&s); err != nil {
		return s, fmt.Errorf("no plan of sealrt's: %w: a Clusterfile is applied with `sealrt apply -f FILE`, and `sealrt plan -f FILE --out PLAN` makes a plan of it", err)
	}
	if s.Kind != PlanKind || s.Asked == nil {
		return s, errors.New("no plan of sealrt's: `sealrt plan -f FILE --out PLAN` makes one")
	}
	if s.APIVersion != clusterfile.APIVersion {
		return s, fmt.Errorf("a plan of version %s: this sealrt reads %s", s.APIVersion, clusterfile.APIVersion)
	}
	return s, nil
}

// Moved says what is no longer as it was when the plan was saved, given what
// the same question gives now; nothing when the plan may be carried out.
func (s SavedPlan) Moved(version string, base Base, now *Forecast) []string {
	var out []string
	if s.Version != version {
		out = append(out, fmt.Sprintf("it was made by sealrt %s, this is %s", s.Version, version))
	}
	out = append(out, s.Base.moved(base)...)
	out = append(out, movedHosts(s.Forecast.Hosts, now.Hosts)...)
	out = append(out, movedSteps(s.Forecast, *now)...)
	if len(out) == 0 && s.Forecast.Digest != now.Digest {
		out = append(out, "the order of the steps is another")
	}
	return out
}

func (b Base) moved(now Base) []string {
	var out []string
	if b.Revision != now.Revision || b.Known != now.Known {
		out = append(out, fmt.Sprintf("the cluster's Clusterfile was changed (revision %d then, %d now)", b.Revision, now.Revision))
	}
	for ref, digest := range b.Images {
		if now.Images[ref] != digest {
			out = append(out, fmt.Sprintf("the image %s was %s, and is %s", ref, digest, now.Images[ref]))
		}
	}
	slices.Sort(out)
	return out
}

// movedHosts compares what the hosts are, and what was done there.
func movedHosts(then, now []HostForecast) []string {
	var out []string
	find := func(list []HostForecast, address string) *HostForecast {
		if i := slices.IndexFunc(list, func(h HostForecast) bool { return h.Address == address }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	for _, was := range then {
		switch is := find(now, was.Address); {
		case is == nil:
			out = append(out, fmt.Sprintf("host %s: it is no part of the cluster any more", was.Host))
		case is.MachineID != was.MachineID:
			out = append(out, fmt.Sprintf("host %s: another machine answers at the address", was.Host))
		case is.Ledger != was.Ledger:
			out = append(out, fmt.Sprintf("host %s: something was done there meanwhile", was.Host))
		}
	}
	for _, is := range now {
		if find(then, is.Address) == nil {
			out = append(out, fmt.Sprintf("host %s: it was no part of the cluster then", is.Host))
		}
	}
	return out
}

// movedSteps compares what is to be done.
func movedSteps(then, now Forecast) []string {
	was, is := then.byKey(), now.byKey()
	var out []string
	for _, key := range then.keys() {
		s := was[key]
		switch other, ok := is[key]; {
		case !ok:
			out = append(out, fmt.Sprintf("host %s: %s: no longer to be done", s.Host, s.ID))
		case other.Hash != s.Hash:
			out = append(out, fmt.Sprintf("host %s: %s: it would do something else", s.Host, s.ID))
		}
	}
	for _, key := range now.keys() {
		if _, ok := was[key]; !ok {
			s := is[key]
			out = append(out, fmt.Sprintf("host %s: %s: to be done now (%s)", s.Host, s.ID, s.Why))
		}
	}
	return out
}

// keys names the steps of all phases; those of one ID on a host are numbered.
func (f Forecast) keys() []stepKey {
	var out []stepKey
	nth := map[StepRef]int{}
	for _, p := range f.Phases {
		for _, s := range p.Steps {
			ref := StepRef{s.Address, s.ID}
			out = append(out, stepKey{s.Address, s.ID, nth[ref]})
			nth[ref]++
		}
	}
	return out
}

func (f Forecast) byKey() map[stepKey]ForecastStep {
	out := map[stepKey]ForecastStep{}
	keys := f.keys()
	for _, p := range f.Phases {
		for _, s := range p.Steps {
			out[keys[len(out)]] = s
		}
	}
	return out
}
