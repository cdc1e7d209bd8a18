package runtime

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteRendered prints what templates of images become on the hosts, as a dry
// run shows it: each text once, with the hosts that get it. In the place of
// secrets there are asterisks; files that are secret as a whole are left out.
func (p Plan) WriteRendered(w io.Writer, secrets []string) error {
	type text struct{ path, from, data string }
	hosts := map[text][]string{}
	var order []text
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				a, ok := s.Do.(Write)
				if !ok || a.From == "" || a.Secret {
					continue
				}
				t := text{a.Path, a.From, a.Data}
				if hosts[t] == nil {
					order = append(order, t)
				}
				if !slices.Contains(hosts[t], task.Member.Name()) {
					hosts[t] = append(hosts[t], task.Member.Name())
				}
			}
		}
	}
	for _, t := range order {
		if _, err := fmt.Fprintf(w, "%s from %s (%s)\n", t.path, t.from, strings.Join(hosts[t], ", ")); err != nil {
			return err
		}
		for line := range strings.Lines(withoutSecrets(t.data, secrets)) {
			if _, err := fmt.Fprintf(w, "  | %s\n", strings.TrimRight(line, "\n")); err != nil {
				return err
			}
		}
	}
	return nil
}

// withoutSecrets puts asterisks in the place of secrets.
func withoutSecrets(text string, secrets []string) string {
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, "***")
	}
	return text
}

// Secrets returns the values of settings whose names say that they are secret,
// and those that the specification names by where they are, the longest first.
func (c *Cluster) Secrets() []string {
	var out []string
	add := func(env map[string]string) {
		for k, v := range env {
			if secretName(k) && v != "" {
				out = append(out, v)
			}
		}
	}
	add(c.Env)
	for _, i := range c.Images {
		add(pairs(i.Env))
		add(i.Settings)
	}
	for _, m := range c.Members {
		add(m.Env)
	}
	return longestFirst(append(out, c.Hidden()...))
}

// secretName reports whether a variable of that name holds a secret.
func secretName(name string) bool {
	name = strings.ToUpper(name)
	return slices.ContainsFunc([]string{"PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE_KEY", "API_KEY", "ACCESS_KEY"}, func(word string) bool {
		return strings.Contains(name, word)
	})
}
