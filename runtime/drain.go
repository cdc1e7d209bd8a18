package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// Emptying is what a command that moves the pods of a node away is told beside
// its arguments: when it fails, what keeps pods there is asked for and named.
type Emptying struct {
	Node    string
	Kubectl []string // the command that runs kubectl, for `get` and what follows
}

// emptying is what a drain of the member is told.
func (r *Runtime) emptying(m Member) *Emptying {
	return &Emptying{Node: m.Hostname, Kubectl: r.driver.Kubectl()}
}

// budget is a PodDisruptionBudget (policy/v1).
type budget struct {
	Metadata objectMeta `json:"metadata"`
	Spec     struct {
		Selector *labelSelector `json:"selector"`
	} `json:"spec"`
	Status struct {
		Allowed int `json:"disruptionsAllowed"`
		Healthy int `json:"currentHealthy"`
		Desired int `json:"desiredHealthy"`
	} `json:"status"`
}

// pod is what of a Pod says whether a budget keeps it.
type pod struct {
	Metadata objectMeta `json:"metadata"`
	Spec     struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

type objectMeta struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Owners      []struct {
		Kind string `json:"kind"`
	} `json:"ownerReferences"`
}

func (m objectMeta) String() string { return m.Namespace + "/" + m.Name }

// labelSelector chooses objects by their labels (meta/v1 LabelSelector).
type labelSelector struct {
	MatchLabels      map[string]string `json:"matchLabels"`
	MatchExpressions []struct {
		Key      string   `json:"key"`
		Operator string   `json:"operator"`
		Values   []string `json:"values"`
	} `json:"matchExpressions"`
}

// matches reports whether labels are chosen: an empty selector chooses all, none
// chooses nothing.
func (s *labelSelector) matches(labels map[string]string) bool {
	if s == nil {
		return false
	}
	for key, value := range s.MatchLabels {
		if is, there := labels[key]; !there || is != value {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		is, there := labels[e.Key]
		chosen := false
		switch e.Operator {
		case "In":
			chosen = there && slices.Contains(e.Values, is)
		case "NotIn":
			chosen = !there || !slices.Contains(e.Values, is)
		case "Exists":
			chosen = there
		case "DoesNotExist":
			chosen = !there
		}
		if !chosen {
			return false
		}
	}
	return true
}

// moves reports whether a drain has to move the pod: those of DaemonSets, those
// that the kubelet has of files, and those that have ended stay.
func (p pod) moves() bool {
	for _, o := range p.Metadata.Owners {
		if o.Kind == "DaemonSet" || o.Kind == "Node" {
			return false
		}
	}
	_, mirror := p.Metadata.Annotations["kubernetes.io/config.mirror"]
	return !mirror && p.Status.Phase != "Succeeded" && p.Status.Phase != "Failed"
}

// keeping says which budgets keep which pods on the node, a line each; pods are
// those that are there, of which some may be kept by none.
func keeping(node string, pods []pod, budgets []budget) (lines, others []string) {
	kept := map[string]bool{}
	for _, b := range budgets {
		var names []string
		for _, p := range pods {
			if p.Spec.NodeName == node && p.moves() && p.Metadata.Namespace == b.Metadata.Namespace && b.Spec.Selector.matches(p.Metadata.Labels) {
				kept[p.Metadata.String()] = true
				names = append(names, p.Metadata.Name)
			}
		}
		if len(names) > 0 {
			lines = append(lines, fmt.Sprintf("%s keeps %s (%d healthy, %d wanted, %d may be disturbed now)",
				b.Metadata, strings.Join(names, ", "), b.Status.Healthy, b.Status.Desired, b.Status.Allowed))
		}
	}
	for _, p := range pods {
		if p.Spec.NodeName == node && p.moves() && !kept[p.Metadata.String()] {
			others = append(others, p.Metadata.String())
		}
	}
	return lines, others
}

// explain says what keeps a node from getting empty; "" where the cluster does not
// say.
func (e Emptying) explain(ctx context.Context, t *target) string {
	var pods struct{ Items []pod }
	var budgets struct{ Items []budget }
	for _, q := range []struct {
		into any
		args []string
	}{
		{&pods, []string{"get", "pods", "--all-namespaces", "--field-selector=spec.nodeName=" + e.Node, "-o", "json"}},
		{&budgets, []string{"get", "poddisruptionbudgets", "--all-namespaces", "-o", "json"}},
	} {
		raw, err := host.Output(ctx, t.limited(askLimit), slices.Concat(e.Kubectl, q.args)...)
		if err != nil || json.Unmarshal(raw, q.into) != nil {
			return ""
		}
	}
	lines, others := keeping(e.Node, pods.Items, budgets.Items)
	text := ""
	if len(lines) > 0 {
		text += fmt.Sprintf("\nPodDisruptionBudgets on %s:\n    %s\nlet more of these pods run elsewhere, or change the budget, and run the same command again; timeouts.drain of the Clusterfile waits longer for them",
			e.Node, strings.Join(lines, "\n    "))
	}
	if len(others) > 0 {
		text += fmt.Sprintf("\nstill on %s, and in no budget: %s", e.Node, shortList(others))
	}
	return text
}

// shortList names the first of many.
func shortList(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
