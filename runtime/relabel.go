package runtime

import (
	"maps"
	"slices"
	"strings"
)

// Relabel plans giving the nodes of the members the labels and taints that they
// have now, where they had others before: a kubelet gives its node those that it
// is told only when the node is new.
func (r *Runtime) Relabel(before []Member) Plan {
	var steps []Step
	for _, m := range r.cluster.Members {
		at := slices.IndexFunc(before, func(b Member) bool { return b.Name() == m.Name() })
		if at < 0 {
			continue
		}
		if words := relabelled(before[at].Labels, m.Labels); len(words) > 0 {
			argv := r.driver.Kubectl(append([]string{"label", "node", m.Hostname, "--overwrite"}, words...)...)
			steps = append(steps, Step{ID: "label " + m.Hostname, About: m.Address, Do: Exec{Argv: argv, Timeout: applyTimeout, Retry: true}})
		}
		steps = append(steps, r.retaint(m, before[at].Taints)...)
	}
	return r.onActing("labels", steps)
}

// relabelled returns the words of kubectl label: KEY=VALUE for what is new, KEY-
// for what is gone.
func relabelled(was, is map[string]string) []string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(is)) {
		if v, ok := was[k]; !ok || v != is[k] {
			words = append(words, k+"="+is[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(was)) {
		if _, ok := is[k]; !ok {
			words = append(words, k+"-")
		}
	}
	return words
}

// retaint changes the taints of a node. Taking away one that is gone already is
// an error of kubectl's: after an attempt that was broken off they are set first.
func (r *Runtime) retaint(m Member, was []string) []Step {
	kind := func(taint string) string { // KEY:EFFECT of KEY[=VALUE]:EFFECT
		name, effect, _ := strings.Cut(taint, ":")
		key, _, _ := strings.Cut(name, "=")
		return key + ":" + effect
	}
	var set, gone, back []string
	for _, t := range m.Taints {
		if !slices.Contains(was, t) {
			set = append(set, t)
		}
	}
	for _, t := range was {
		if !slices.ContainsFunc(m.Taints, func(o string) bool { return kind(o) == kind(t) }) {
			gone, back = append(gone, kind(t)+"-"), append(back, t)
		}
	}
	taint := func(words []string) []string {
		return r.driver.Kubectl(append([]string{"taint", "node", m.Hostname, "--overwrite"}, words...)...)
	}
	var steps []Step
	if len(set) > 0 {
		steps = append(steps, Step{ID: "taint " + m.Hostname, About: m.Address, Do: Exec{Argv: taint(set), Timeout: applyTimeout, Retry: true}})
	}
	if len(gone) > 0 {
		steps = append(steps, Step{ID: "untaint " + m.Hostname, About: m.Address, Do: Exec{Argv: taint(gone), Recover: []Action{Exec{Argv: taint(back)}}, Timeout: applyTimeout}})
	}
	return steps
}
