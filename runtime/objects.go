package runtime

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Object names an object of Kubernetes that an image brought to a cluster.
type Object struct {
	Group     string `json:"group,omitempty"` // of its API; "" is the core's
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"` // as the manifest says; "" is the default one, or none
	Name      string `json:"name"`
}

// String names the object for people: Kind NAMESPACE/NAME.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// argument names the object for kubectl: KIND.GROUP/NAME.
func (o Object) argument() string {
	if o.Group == "" {
		return o.Kind + "/" + o.Name
	}
	return o.Kind + "." + o.Group + "/" + o.Name
}

// Holds reports whether more goes with the object than itself: what is in a
// namespace, all objects of a kind, data.
func (o Object) Holds() bool {
	switch o.argument()[:strings.IndexByte(o.argument(), '/')] {
	case "Namespace", "PersistentVolumeClaim", "PersistentVolume", "CustomResourceDefinition.apiextensions.k8s.io":
		return true
	}
	return false
}

// clusterKinds are those of Kubernetes itself that are in no namespace.
var clusterKinds = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"Namespace", "Node", "PersistentVolume", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "StorageClass", "IngressClass", "PriorityClass",
	"RuntimeClass", "APIService", "CSIDriver", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
}

// In returns the object as it is named where the kubeconfig chooses a namespace.
func (o Object) In(namespace string) Object {
	if !slices.Contains(clusterKinds[:], o.Kind) {
		o.Namespace = cmp.Or(o.Namespace, namespace)
	}
	return o
}

// alike reports whether two objects are one, but maybe for their namespaces.
func (o Object) alike(other Object) bool {
	return o.Group == other.Group && o.Kind == other.Kind && o.Name == other.Name
}

// is reports whether two names mean one object.
func (o Object) is(other Object) bool {
	return o.alike(other) && cmp.Or(o.Namespace, "default") == cmp.Or(other.Namespace, "default")
}

// manifest is what every object of Kubernetes begins with, and the items of a
// list.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name, Namespace string }
	Items      []manifest
}

// ObjectsIn lists the objects in a text, YAML or JSON, in their order. A
// document that is no object which kubectl could apply is an error.
func ObjectsIn(text []byte) ([]Object, error) {
	var out []Object
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for n := 1; ; n++ {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(doc.Content) == 1 && doc.Content[0].Tag == "!!null" { // nothing, or comments
			continue
		}
		var m manifest
		if err := doc.Decode(&m); err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if out, err = m.objects(out); err != nil {
			return nil, fmt.Errorf("document %d, line %d: %w", n, doc.Line, err)
		}
	}
}

// objects adds the object, or those in the list, to the others.
func (m manifest) objects(others []Object) ([]Object, error) {
	if m.APIVersion == "v1" && m.Kind == "List" {
		var err error
		for _, item := range m.Items {
			if others, err = item.objects(others); err != nil {
				return nil, err
			}
		}
		return others, nil
	}
	if m.APIVersion == "" || m.Kind == "" || m.Metadata.Name == "" {
		return nil, errors.New("an object of Kubernetes has apiVersion, kind and metadata.name")
	}
	group, _, grouped := strings.Cut(m.APIVersion, "/")
	if !grouped {
		group = ""
	}
	o := Object{Group: group, Kind: m.Kind, Namespace: m.Metadata.Namespace, Name: m.Metadata.Name}
	if slices.ContainsFunc(others, o.is) {
		return others, nil
	}
	return append(others, o), nil
}

// Retired tells what becomes of the objects that were brought before when those
// that are brought now take their place: gone are to be deleted, left stay where
// they are, since more would go with them, or since their kind may know no
// namespaces and they are brought still. What others brought too is not touched.
func Retired(before, now, others []Object) (gone, left []Object) {
	for _, o := range before {
		switch {
		case slices.ContainsFunc(now, o.is), slices.ContainsFunc(others, o.is):
		case o.Holds(), slices.ContainsFunc(slices.Concat(now, others), o.alike):
			left = append(left, o)
		default:
			gone = append(gone, o)
		}
	}
	return gone, left
}

// Also returns the objects with those of the others that are not among them.
func Also(objects, others []Object) []Object {
	out := slices.Clone(objects)
	for _, o := range others {
		if !slices.ContainsFunc(out, o.is) {
			out = append(out, o)
		}
	}
	return out
}

// Deletion is a command of kubectl that deletes objects.
type Deletion struct {
	Args []string
	// Follow says that the objects go with the definition of their kind, which is
	// deleted after them: that their kind is not known any more is no failure.
	Follow bool
}

// Deletions returns the commands that delete the objects, the last first, many
// with one command. They can be repeated.
func Deletions(objects []Object) []Deletion {
	var out []Deletion
	last := Object{}
	for _, o := range slices.Backward(objects) {
		follow := slices.ContainsFunc(objects, func(d Object) bool {
			_, group, _ := strings.Cut(d.Name, ".") // the name of a definition is PLURAL.GROUP
			return d.Kind == "CustomResourceDefinition" && group == o.Group
		})
		if n := len(out) - 1; n >= 0 && last.Namespace == o.Namespace && out[n].Follow == follow {
			out[n].Args = append(out[n].Args, o.argument())
			continue
		}
		args := []string{"delete", "--ignore-not-found"}
		if o.Namespace != "" {
			args = append(args, "-n", o.Namespace)
		}
		out = append(out, Deletion{append(args, o.argument()), follow})
		last = o
	}
	return out
}

// deleteSteps deletes objects. They are repeated with each plan that has them.
func (r *Runtime) deleteSteps(id string, objects []Object) []Step {
	var steps []Step
	for n, d := range Deletions(objects) {
		do := Exec{Argv: r.driver.Kubectl(d.Args...), Timeout: deleteTimeout, Always: true, Tolerate: d.Follow}
		steps = append(steps, Step{ID: fmt.Sprintf("%s, %d", id, n+1), Again: true, Do: do})
	}
	return steps
}

// ObjectsOf lists the objects that an image brings to the cluster, in the order
// in which they are applied. The files of the image are at hand.
func (r *Runtime) ObjectsOf(i Image) ([]Object, error) {
	var out []Object
	if i = r.cluster.own(i); i.Files == nil {
		return nil, nil
	}
	for _, name := range i.Objects() {
		objects, err := r.objectsIn(i, name)
		if err != nil {
			return nil, err
		}
		out = Also(out, objects)
	}
	return out, nil
}

// objectsIn lists the objects in one file of an image.
func (r *Runtime) objectsIn(i Image, name string) ([]Object, error) {
	text, err := r.cluster.text(i, name, r.cluster.ActingMaster())
	if err != nil {
		return nil, err
	}
	objects, err := ObjectsIn([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", i.Ref.Familiar(), name, err)
	}
	return objects, nil
}

// Bringing returns the images with what each brings to the cluster: Brings is
// that, and Brought has it beside what is there from before.
func (r *Runtime) Bringing(images []Image) ([]Image, error) {
	out := slices.Clone(images)
	for n, i := range out {
		objects, err := r.ObjectsOf(i)
		if err != nil {
			return nil, err
		}
		out[n].Brings, out[n].Brought = objects, Also(objects, i.Brought)
	}
	return out, nil
}

// Settled returns the image when its plan was carried out: of what was there
// before, and it does not bring any more, only that is there which was left.
func (i Image) Settled() Image {
	if i.Brings != nil {
		_, left := Retired(i.Brought, i.Brings, nil)
		i.Brought = Also(i.Brings, left)
	}
	return i
}

// broughtByOthers lists what images of the cluster brought that are not called
// like this one.
func (c *Cluster) broughtByOthers(i Image) []Object {
	var out []Object
	for _, o := range c.Images {
		if o.Ref.Name() != i.Ref.Name() {
			out = Also(out, o.Brought)
		}
	}
	return out
}

// retire deletes what the image, or the one before it, brought, and it does not
// bring any more.
func (r *Runtime) retire(i Image) ([]Step, error) {
	objects, err := r.ObjectsOf(i)
	if err != nil {
		return nil, err
	}
	gone, _ := Retired(i.Brought, objects, r.cluster.broughtByOthers(i))
	return r.deleteSteps("delete what "+i.Ref.Familiar()+" has no more", gone), nil
}
