package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// Sysctl sets parameters of the host's kernel now; files in /etc/sysctl.d set
// them at boot. What they were before is recorded, and set again at reset.
type Sysctl struct{ Settings []Setting }

// Setting is one parameter, by its name as sysctl.d(5) writes it.
type Setting struct {
	Name, Value string
	Optional    bool // a kernel without the parameter is no error
}

// Modules loads modules of the host's kernel now; files in /etc/modules-load.d
// load them at boot. Those that were not loaded before are unloaded at reset,
// unless something uses them. A module that the kernel does not have as one is
// told, and no error: it may be built in.
type Modules struct{ Names []string }

func (a Sysctl) String() string {
	words := make([]string, len(a.Settings))
	for i, s := range a.Settings {
		words[i] = s.Name + "=" + s.Value
	}
	return "set " + strings.Join(words, " ")
}

func (a Modules) String() string { return "load kernel modules " + strings.Join(a.Names, " ") }

func (Sysctl) footprint() footprint  { return footprint{} }
func (Modules) footprint() footprint { return footprint{} }

// path returns where the kernel shows a parameter. The first separator of a
// name decides what the others mean (sysctl.d(5), "Configuration Format").
func (s Setting) path() string {
	if i := strings.IndexAny(s.Name, "./"); i >= 0 && s.Name[i] == '.' {
		return "/proc/sys/" + strings.NewReplacer(".", "/", "/", ".").Replace(s.Name)
	}
	return "/proc/sys/" + s.Name
}

// claim records what the parameters are.
func (a Sysctl) claim(ctx context.Context, t *target, f *footprint) (err error) {
	names := make([]string, len(a.Settings))
	for i, s := range a.Settings {
		names[i] = s.Name
	}
	f.Sysctls, err = t.parameters(ctx, names)
	return err
}

// parameters returns the values of those parameters that the kernel has. All of
// them are read by one command: tail prints each under the name of its file,
// where there are several.
func (t *target) parameters(ctx context.Context, names []string) (map[string]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	argv, of := []string{"tail", "-n", "+1"}, map[string]string{}
	for _, name := range names {
		file := Setting{Name: name}.path()
		argv, of[file] = append(argv, file), name
	}
	var out bytes.Buffer
	err := t.Run(ctx, host.Command{Argv: append(argv, argv[3]), Stdout: &out})
	if _, exited := exitCode(err); err != nil && !exited { // 1: not all are there
		return nil, err
	}
	values, name := map[string]string{}, ""
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		title, _ := strings.CutPrefix(line, "==> ")
		if of[strings.TrimSuffix(title, " <==")] != "" {
			name = of[strings.TrimSuffix(title, " <==")]
			values[name] = ""
		} else if name != "" && line != "" {
			values[name] = line
		}
	}
	return values, nil
}

func (a Sysctl) apply(ctx context.Context, t *target) error {
	for _, s := range a.Settings {
		if err := t.sysctl(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) sysctl(ctx context.Context, s Setting) error {
	there, err := t.exists(ctx, s.path())
	if err != nil {
		return err
	}
	if !there {
		if s.Optional {
			return nil
		}
		return fmt.Errorf("the kernel has no parameter %s (a module that brings it may not be loaded)", s.Name)
	}
	c := host.Command{Argv: []string{"dd", "of=" + s.path(), "status=none"}, Stdin: strings.NewReader(s.Value + "\n")}
	if err := t.Run(ctx, c); err != nil && !s.Optional {
		return fmt.Errorf("set %s to %s: %w", s.Name, s.Value, err)
	}
	return nil
}

// loaded returns which modules are loaded (proc_modules(5)).
func (t *target) loaded(ctx context.Context) (map[string]bool, error) {
	raw, err := host.ReadFile(ctx, t.Host, "/proc/modules")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without modules
		return nil, err
	}
	have := map[string]bool{}
	for line := range strings.Lines(string(raw)) {
		name, _, _ := strings.Cut(line, " ")
		have[name] = true
	}
	return have, nil
}

// claim records which modules are not loaded.
func (a Modules) claim(ctx context.Context, t *target, f *footprint) error {
	have, err := t.loaded(ctx)
	if err != nil {
		return err
	}
	for _, name := range a.Names {
		// modprobe takes - for _, the kernel shows _ only
		if kernel := strings.ReplaceAll(name, "-", "_"); !have[kernel] {
			f.Modules = append(f.Modules, kernel)
		}
	}
	return nil
}

func (a Modules) apply(ctx context.Context, t *target) error {
	var errs []error
	for _, name := range a.Names {
		errs = append(errs, t.Run(ctx, host.Command{Argv: []string{"modprobe", "-q", name}}))
	}
	return errors.Join(errs...)
}

// setBack gives parameters the values that they had, but for those which went
// with their module. It looks twice: to set one may change others, as ip_forward
// does with the forwarding of all links.
func (t *target) setBack(ctx context.Context, were map[string]string) error {
	names := slices.Sorted(maps.Keys(were))
	for range 2 {
		are, err := t.parameters(ctx, names)
		if err != nil {
			return err
		}
		var errs []error
		for _, name := range names {
			if is, there := are[name]; there && is != were[name] {
				errs = append(errs, t.sysctl(ctx, Setting{Name: name, Value: were[name]}))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// unkernel sets parameters to what they were and unloads modules that nothing
// uses.
func (t *target) unkernel(ctx context.Context, f footprint) error {
	errs := []error{t.setBack(ctx, f.Sysctls)}
	if len(f.Modules) == 0 {
		return errors.Join(errs...)
	}
	have, err := t.loaded(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, name := range f.Modules {
		if have[name] {
			_, err := t.says(ctx, host.Command{Argv: []string{"modprobe", "-r", name}}) // one that is in use stays
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// kernel returns the steps that make what files of sysctl.d and modules-load.d
// say true now, which a boot would.
func kernel(files []Step) []Step {
	var modules Modules
	var settings Sysctl
	for _, s := range files {
		file, ok := s.Do.(Write)
		if !ok {
			continue
		}
		switch path.Dir(file.Path) {
		case "/etc/modules-load.d":
			modules.Names = append(modules.Names, settingLines(file.Data)...)
		case "/etc/sysctl.d":
			for _, line := range settingLines(file.Data) {
				settings.Settings = append(settings.Settings, parseSetting(line))
			}
		}
	}
	var steps []Step
	if len(modules.Names) > 0 {
		steps = append(steps, Step{ID: "kernel modules", Do: modules})
	}
	if len(settings.Settings) > 0 {
		steps = append(steps, Step{ID: "kernel parameters", Do: settings})
	}
	return steps
}

// settingLines returns the lines of a file that are no comments
// (modules-load.d(5), sysctl.d(5)).
func settingLines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != ';' {
			out = append(out, line)
		}
	}
	return out
}

// parseSetting reads NAME = VALUE; a dash before the name makes it optional.
func parseSetting(line string) Setting {
	name, value, _ := strings.Cut(line, "=")
	name, optional := strings.CutPrefix(strings.TrimSpace(name), "-")
	return Setting{Name: name, Value: strings.TrimSpace(value), Optional: optional}
}
