package runtime

import (
	"cmp"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// RevealWith says who knows what a specification names by where it is, env:NAME
// or file:PATH, in settings, proxies, config documents and documents of the
// distribution's own. The function is asked when a plan is made, the same
// question many times; what names the value in its errors. Without one such
// texts stand for themselves. No template reaches it: what images say is never
// looked up on this machine.
func (c *Cluster) RevealWith(reveal func(what, reference string) (string, error)) { c.reveal = reveal }

// revealed returns the cluster with the values in the place of references: a
// copy, so that they are not kept with the cluster. Without references it is c.
func (c *Cluster) revealed() (*Cluster, error) {
	values, err := c.references()
	if err != nil || len(values) == 0 {
		return c, err
	}
	out := *c
	out.written, out.reveal, out.hidden = c, nil, longestFirst(alsoEncoded(slices.Collect(maps.Values(values))))
	put := func(s string) string {
		if value, ok := values[s]; ok {
			return value
		}
		return s
	}
	out.Env = mapped(c.Env, put)
	out.Proxy.HTTP, out.Proxy.HTTPS = put(c.Proxy.HTTP), put(c.Proxy.HTTPS)
	out.Members = slices.Clone(c.Members)
	for i, m := range out.Members {
		out.Members[i].Env = mapped(m.Env, put)
	}
	out.Images = slices.Clone(c.Images)
	for i, image := range out.Images {
		out.Images[i].Settings = mapped(image.Settings, put)
	}
	out.Config = slices.Clone(c.Config)
	for i, doc := range out.Config {
		out.Config[i].Data, _ = texts(doc.Data, put).(map[string]any)
	}
	out.Others = slices.Clone(c.Others)
	for i, o := range out.Others {
		if out.Others[i], err = o.Mapped(put); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

// asWritten returns the cluster with the references in the place of values, for
// who is shown it.
func (c *Cluster) asWritten() *Cluster {
	if c.written == nil {
		return c
	}
	out := *c
	out.Env, out.Proxy, out.Config, out.Others = c.written.Env, c.written.Proxy, c.written.Config, c.written.Others
	out.Members = slices.Clone(c.Members)
	for i := range out.Members {
		for _, m := range c.written.Members {
			if m.Address == out.Members[i].Address {
				out.Members[i].Env = m.Env
			}
		}
	}
	return &out
}

// references looks up everything that the specification names by where it is. The
// error is about the first that cannot be had; the others are returned.
func (c *Cluster) references() (map[string]string, error) {
	if c.reveal == nil {
		return nil, nil
	}
	values := map[string]string{}
	var failed error
	ask := func(what string) func(string) string {
		return func(s string) string {
			if _, known := values[s]; known || !clusterfile.IsReference(s) {
				return s
			}
			value, err := c.reveal(what, s)
			if err != nil { // the others are looked up all the same: they are to be hidden
				failed = cmp.Or(failed, err)
				return s
			}
			values[s] = value
			return s
		}
	}
	settings := func(of string, env map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(env)) {
			ask(of + name)(env[name])
		}
	}
	settings("env ", c.Env)
	for _, m := range c.Members {
		settings("host "+m.Name()+": env ", m.Env)
	}
	for _, i := range c.Images {
		settings(i.Ref.Familiar()+": env ", i.Settings)
	}
	ask("proxy.http")(c.Proxy.HTTP)
	ask("proxy.https")(c.Proxy.HTTPS)
	for _, doc := range c.Config {
		texts(doc.Data, ask("config of "+doc.Path))
	}
	for _, o := range c.Others {
		if _, err := o.Mapped(ask(strings.TrimSpace("document " + o.Kind))); err != nil {
			return nil, err
		}
	}
	return values, failed
}

// Hidden returns the values that nobody is to see, the longest first: those that
// the specification names by where they are. One that cannot be had is left out.
func (c *Cluster) Hidden() []string {
	if c.hidden != nil {
		return c.hidden
	}
	values, _ := c.references() // who makes the plan is told
	return longestFirst(alsoEncoded(slices.Collect(maps.Values(values))))
}

// Unrevealed is the error of the first value that the specification names by where
// it is, and that cannot be had.
func (c *Cluster) Unrevealed() error {
	_, err := c.references()
	return err
}

// alsoEncoded adds what values become in the data of a Secret, which is base64
// (RFC 4648, section 4).
func alsoEncoded(values []string) []string {
	for _, v := range slices.Clone(values) {
		values = append(values, base64.StdEncoding.EncodeToString([]byte(v)))
	}
	return values
}

// longestFirst drops empty values and those that are given twice. A value that
// is a part of another comes after it.
func longestFirst(values []string) []string {
	values = slices.DeleteFunc(values, func(s string) bool { return s == "" })
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	return slices.Compact(values)
}

// mapped returns the map with f of its values.
func mapped(m map[string]string, f func(string) string) map[string]string {
	out := maps.Clone(m)
	for k, v := range out {
		out[k] = f(v)
	}
	return out
}

// texts returns data with f of the texts in it.
func texts(v any, f func(string) string) any {
	switch v := v.(type) {
	case string:
		return f(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, w := range v {
			out[k] = texts(w, f)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, w := range v {
			out[i] = texts(w, f)
		}
		return out
	}
	return v
}
