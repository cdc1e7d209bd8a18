package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
)

// stdinFile is the name of a file that means standard input.
const stdinFile = "-"

// readClusterfile reads a Clusterfile of the user's. Files that it names by a
// relative path lie beside it.
func readClusterfile(env *environment, name string) (*clusterfile.Document, error) {
	var raw []byte
	var err error
	dir := "."
	if name == stdinFile {
		raw, err = io.ReadAll(env.stdin)
	} else {
		raw, err = os.ReadFile(name)
		dir = filepath.Dir(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the Clusterfile: %w", err)
	}
	doc, err := clusterfile.Parse(name, raw)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	return doc, locateFiles(doc, dir)
}

// locateFiles makes the paths of files absolute, so that later commands find
// them from anywhere.
func locateFiles(doc *clusterfile.Document, dir string) error {
	s := &doc.Spec
	fix := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) && !strings.HasPrefix(*p, "~/") {
			*p = filepath.Join(dir, *p)
		}
	}
	reference := func(p string) string {
		if file, ok := strings.CutPrefix(p, "file:"); ok {
			fix(&file)
			return "file:" + file
		}
		return p
	}
	ssh := func(s *clusterfile.SSH) {
		fix(&s.Identity)
		s.Password, s.BecomePassword = reference(s.Password), reference(s.BecomePassword)
	}
	ssh(&s.SSH)
	fix(&s.Registry.CAFile)
	s.Proxy.HTTP, s.Proxy.HTTPS = reference(s.Proxy.HTTP), reference(s.Proxy.HTTPS)
	for k, v := range s.Env {
		s.Env[k] = reference(v)
	}
	for i := range s.Hosts {
		ssh(&s.Hosts[i].SSH)
		for k, v := range s.Hosts[i].Env {
			s.Hosts[i].Env[k] = reference(v)
		}
	}
	for i := range s.Hooks {
		fix(&s.Hooks[i].File)
	}
	for i := range s.Config {
		s.Config[i].Data, _ = located(s.Config[i].Data, reference).(map[string]any)
	}
	for i, o := range doc.Others {
		var err error
		if doc.Others[i], err = o.Mapped(reference); err != nil {
			return err
		}
	}
	return nil
}

// located returns data whose references to files are absolute.
func located(v any, reference func(string) string) any {
	switch v := v.(type) {
	case string:
		return reference(v)
	case map[string]any:
		for k, w := range v {
			v[k] = located(w, reference)
		}
	case []any:
		for i, w := range v {
			v[i] = located(w, reference)
		}
	}
	return v
}

// document returns the Clusterfile of -f, or an empty one, with the images and
// the name that the command line gives.
func (f runFlags) document(env *environment, named bool, images []string) (*clusterfile.Document, error) {
	doc := &clusterfile.Document{}
	if f.file != "" {
		var err error
		if doc, err = readClusterfile(env, f.file); err != nil {
			return nil, err
		}
	}
	if len(images) > 0 {
		doc.Spec.Image = images
	}
	if len(doc.Spec.Image) == 0 && f.file != "" {
		return nil, usageError{fmt.Errorf("%s names no image: write spec.image, or give one on the command line", f.file)}
	}
	if len(doc.Spec.Image) == 0 {
		return nil, usageError{errors.New("an image is missing")}
	}
	if named || doc.Metadata.Name == "" {
		doc.Metadata.Name = f.cluster
	}
	return doc, nil
}

// members returns the hosts one by one: those of the flags, which replace those
// of the file with the same role, else those of the file, else this machine. A
// host that both name keeps what the file says of it.
func (f runFlags) members(ctx context.Context, env *environment, doc *clusterfile.Document) ([]runtime.Member, error) {
	written, err := runtime.MembersOf(doc.Spec)
	if err != nil {
		return nil, err
	}
	if len(written) == 0 {
		return runMembers(ctx, env, f)
	}
	var out []runtime.Member
	for _, role := range []struct {
		role runtime.Role
		flag string
	}{{runtime.Master, f.masters}, {runtime.Node, f.nodes}} {
		given, err := parseMembers(ctx, env, role.flag, role.role)
		if err != nil {
			return nil, err
		}
		if role.flag == "" {
			for _, m := range written {
				if m.Role == role.role {
					given = append(given, m)
				}
			}
		}
		for _, m := range given {
			i := slices.IndexFunc(written, func(w runtime.Member) bool { return w.Name() == m.Name() })
			if i >= 0 {
				known := written[i]
				known.Address, known.Role = m.Address, m.Role
				m = known
			}
			if m, err = placed(ctx, env, m); err != nil {
				return nil, err
			}
			if slices.ContainsFunc(out, func(o runtime.Member) bool { return o.Address == m.Address }) {
				return nil, usageError{fmt.Errorf("host %s is given twice, as master and as node", m.Name())}
			}
			out = append(out, m)
		}
	}
	return out, nil
}

// placed returns a member with the address that other hosts reach it by.
func placed(ctx context.Context, env *environment, m runtime.Member) (runtime.Member, error) {
	if m.NodeIP != "" {
		return m, nil
	}
	if m.Address == local {
		here, err := thisMachine(ctx)
		m.NodeIP = here.NodeIP
		return m, err
	}
	found, err := parseMembers(ctx, env, m.Address, m.Role)
	if err != nil {
		return m, err
	}
	m.NodeIP = cmp.Or(m.NodeIP, found[0].NodeIP)
	return m, nil
}

// newClusterfile returns the document of a cluster that is yet to be written.
func newClusterfile(name string, images []string, masters, nodes string) (*clusterfile.Document, error) {
	doc := &clusterfile.Document{File: clusterfile.File{
		APIVersion: clusterfile.APIVersion, Kind: clusterfile.Kind, Metadata: clusterfile.Metadata{Name: name}, Spec: clusterfile.Spec{Image: images},
	}}
	for _, role := range [][2]string{{"master", masters}, {"node", nodes}} {
		if role[1] == "" {
			continue
		}
		if _, err := host.ParseAddresses(role[1]); err != nil {
			return nil, usageError{err}
		}
		doc.Spec.Hosts = append(doc.Spec.Hosts, clusterfile.Host{Address: clusterfile.Strings{role[1]}, Role: role[0]})
	}
	if len(doc.Spec.Hosts) == 0 {
		doc.Spec.Hosts = []clusterfile.Host{{Address: clusterfile.Strings{local}, Role: "master"}}
	}
	return doc, nil
}
