package builder

import (
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/kubefile"
)

// scope holds the variables that words of a stage may name, with the rules of Dockerfiles: ENV wins over ARG, ARG is
// known from its line on, and a build argument wins over the value that ARG states.
type scope struct {
	expander *kubefile.Expander
	env      []string          // K=V: config.Env
	args     map[string]string // of ARG lines so far
	unset    map[string]bool   // ARG lines without any value
	outer    map[string]string // ARGs before the first FROM
	given    map[string]string // build arguments
	known    map[string]string // predefined
}

func newScope(o Options, p v1.Platform) (*scope, error) {
	s := &scope{
		expander: o.File.Expander(), given: o.BuildArgs,
		args: map[string]string{}, unset: map[string]bool{}, known: predefined(p, *o.Platform),
	}
	for _, a := range o.File.Args {
		if err := s.declare(a.Pairs); err != nil {
			return nil, mistake(o.File, a, err.Error(), "")
		}
	}
	s.outer = s.args
	return s, nil
}

// enter begins the stage: the outer ARGs are known only where the stage declares them again.
func (s *scope) enter(env []string) {
	s.args = map[string]string{}
	s.unset = map[string]bool{}
	s.env = append([]string(nil), env...)
}

func (s *scope) expand(word string) (string, error) { return s.expander.Expand(word, s.lookup) }

func (s *scope) expandAll(words []string) ([]string, error) {
	out := make([]string, len(words))
	for i, w := range words {
		var err error
		if out[i], err = s.expand(w); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *scope) lookup(name string) (string, bool) {
	for _, kv := range s.env {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v, true
		}
	}
	if v, ok := s.args[name]; ok {
		return v, true
	}
	return s.predefined(name)
}

func (s *scope) predefined(name string) (string, bool) {
	v, ok := s.known[name]
	if given, has := s.given[name]; ok && has {
		return given, true
	}
	return v, ok
}

// declare adds the variables of one ARG line.
func (s *scope) declare(pairs []kubefile.Pair) error {
	for _, p := range pairs {
		value, err := s.expand(p.Value)
		if err != nil {
			return err
		}
		given, isGiven := s.given[p.Name]
		outer, isOuter := s.outer[p.Name]
		pre, isPredefined := s.predefined(p.Name)
		delete(s.unset, p.Name)
		switch {
		case isGiven:
			s.args[p.Name] = given
		case p.Set:
			s.args[p.Name] = value
		case isOuter:
			s.args[p.Name] = outer
		case isPredefined:
			s.args[p.Name] = pre
		default:
			delete(s.args, p.Name)
			s.unset[p.Name] = true
		}
	}
	return nil
}

// setEnv adds the variables of one ENV line. All values see the variables before the line.
func (s *scope) setEnv(pairs []kubefile.Pair) error {
	values := make([]string, len(pairs))
	for i, p := range pairs {
		var err error
		if values[i], err = s.expand(p.Value); err != nil {
			return err
		}
	}
	for i, p := range pairs {
		s.env = setVariable(s.env, p.Name, values[i])
	}
	return nil
}

// forRun returns the environment of a RUN command: ARCH, proxies that were given, ARG, ENV.
func (s *scope) forRun() []string {
	var env []string
	if arch, ok := s.predefined("ARCH"); ok {
		env = setVariable(env, "ARCH", arch)
	}
	for _, name := range proxyArgs() {
		if v, ok := s.given[name]; ok {
			env = setVariable(env, name, v)
		}
	}
	for _, name := range keys(s.args) {
		env = setVariable(env, name, s.args[name])
	}
	for _, kv := range s.env {
		name, value, _ := strings.Cut(kv, "=")
		env = setVariable(env, name, value)
	}
	return env
}

// setVariable sets name in a list of K=V, in place when it is there. The list that it got stays as it was.
func setVariable(env []string, name, value string) []string {
	out := append([]string(nil), env...)
	prefix := name + "="
	for i, kv := range out {
		if strings.HasPrefix(kv, prefix) {
			out[i] = prefix + value
			return out
		}
	}
	return append(out, prefix+value)
}

// predefined returns the variables that every stage knows. Beyond BuildKit's there is ARCH, the usual name in
// Kubefiles.
func predefined(target, build v1.Platform) map[string]string {
	return map[string]string{
		"TARGETPLATFORM": target.String(), "TARGETOS": target.OS, "TARGETARCH": target.Architecture, "TARGETVARIANT": target.Variant,
		"BUILDPLATFORM": build.String(), "BUILDOS": build.OS, "BUILDARCH": build.Architecture, "BUILDVARIANT": build.Variant,
		"ARCH": target.Architecture,
	}
}

func predefinedNames() []string { return keys(predefined(v1.Platform{}, v1.Platform{})) }

// proxyArgs need no ARG, as in Dockerfiles, and never become part of a cache key.
func proxyArgs() []string {
	names := []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}
	for _, n := range names[:len(names):len(names)] {
		names = append(names, strings.ToLower(n))
	}
	return names
}
