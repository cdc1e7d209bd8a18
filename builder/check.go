package builder

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/kubefile"
)

// platformsOf returns what to build for, each once.
func platformsOf(o Options) ([]v1.Platform, error) {
	if o.File == nil || len(o.File.Stages) == 0 {
		return nil, errors.New("build: a Kubefile with a stage is needed")
	}
	wanted := o.Platforms
	if len(wanted) == 0 {
		wanted = []v1.Platform{{OS: "linux", Architecture: o.Platform.Architecture, Variant: o.Platform.Variant}}
		if text := o.File.Stages[0].From.Platform; text != "" && !strings.Contains(text, "$") {
			p, err := v1.ParsePlatform(text)
			if err != nil {
				return nil, mistake(o.File, o.File.Stages[0].From, "platform "+strconv.Quote(text), err.Error())
			}
			wanted = []v1.Platform{*p}
		}
	}
	var platforms []v1.Platform
	seen := map[string]bool{}
	for _, p := range wanted {
		p.Architecture = artifact.Arch(p.Architecture)
		if p.OS == "" || p.Architecture == "" {
			return nil, fmt.Errorf("platform %q: write it as os/architecture, such as linux/amd64", p.String())
		}
		if !seen[p.String()] {
			seen[p.String()] = true
			platforms = append(platforms, p)
		}
	}
	return platforms, nil
}

// Check reports, as kubefile.Errors in their order, what Build would say of the Kubefile without building: what this
// builder cannot do and, where nothing but the context decides that, variables, flags and missing sources. What is wrong
// with o but not with the file is another error; Store and Source are not used. found is what the parser says, which
// becomes part of the result; the rest of such a file is not looked at as closely, lest one mistake is reported twice.
func Check(o Options, found kubefile.Errors) error {
	o = withDefaults(o)
	if len(found) > 0 && (o.File == nil || len(o.File.Stages) == 0) {
		return found
	}
	platforms, err := platformsOf(o)
	if err == nil {
		err = check(o, platforms, found)
	}
	if err != nil {
		return err
	}
	files, err := openContext(o.Context, "")
	if err != nil {
		return err
	}
	defer files.Close()
	for _, p := range platforms {
		b := &building{Options: o, file: o.File.Name, platform: p, files: files}
		if err := b.checkPlan(o.File.Stages[0]); err != nil {
			return err
		}
	}
	return nil
}

// checkPlan reports mistakes of a stage that depend on the values of variables and on the context. A stage that starts
// from an image depends on that image too, which is not there to be asked.
func (b *building) checkPlan(stage *kubefile.Stage) error {
	name, err := b.baseName(stage.From)
	if err != nil {
		return err
	}
	if name != scratch {
		if _, err := artifact.ParseReference(name); err != nil {
			return mistake(b.File, stage.From, err.Error(), "")
		}
		return nil
	}
	_, err = b.plan(stage, &v1.ConfigFile{})
	return err
}

// check reports, all at once and with the mistakes found before, what this builder cannot do.
func check(o Options, platforms []v1.Platform, found kubefile.Errors) error {
	found = slices.Clone(found)
	refuse := func(i kubefile.Instruction, message, hint string) {
		found = append(found, mistake(o.File, i, message, hint))
	}
	for _, stage := range o.File.Stages[1:] {
		refuse(stage.From, "several stages are not supported yet", "build the stages as images of their own, and start from the last with FROM")
	}
	for _, stage := range o.File.Stages {
		for _, i := range stage.Instructions {
			checkInstruction(i, refuse)
			if run, ok := i.(*kubefile.Run); ok {
				checkRun(run, o, platforms, refuse)
			}
		}
	}
	if len(found) > 0 {
		found.Sort()
		return found
	}
	if first := o.File.Stages[0].From; o.Target != "" && o.Target != "0" && !strings.EqualFold(o.Target, first.As) {
		return fmt.Errorf("%s: target %q: there is no such stage", o.File.Name, o.Target)
	}
	return nil
}

type refusal func(i kubefile.Instruction, message, hint string)

func checkInstruction(i kubefile.Instruction, refuse refusal) {
	switch i := i.(type) {
	case *kubefile.Add:
		refuse(i, "ADD is not supported yet", "download and unpack first, then COPY")
	case *kubefile.User:
		refuse(i, "USER is not supported yet", "RUN commands run as root of the sandbox; leave the line out")
	case *kubefile.Copy:
		if i.From != "" {
			refuse(i, "COPY --from is not supported yet", "start FROM that image, or COPY the files from the context")
		}
		if i.Parents {
			refuse(i, "COPY --parents is not supported yet", "write one COPY a directory")
		}
	case *kubefile.Base:
		if strings.Contains(i.Platform, ",") {
			refuse(i, "BASE for several platforms is not supported yet", "build with --platform "+i.Platform+" instead")
		}
	}
}

func checkRun(run *kubefile.Run, o Options, platforms []v1.Platform, refuse refusal) {
	if len(run.Mounts) > 0 {
		refuse(run, "RUN --mount is not supported yet", "COPY what the command needs, and delete it in the same RUN")
	}
	if h, ok := run.Script(); ok && strings.HasPrefix(h.Text(), "#!") {
		refuse(run, "RUN with a script of its own interpreter is not supported yet", "COPY the script, and RUN it by its path")
	}
	if runtime.GOOS != "linux" {
		refuse(run, "RUN needs Linux, this is "+runtime.GOOS, "build on a Linux machine or with --builder")
		return
	}
	for _, p := range platforms {
		if !artifact.MatchPlatform(*o.Platform, v1.Platform{OS: p.OS, Architecture: p.Architecture}) {
			refuse(run, fmt.Sprintf("RUN for %s is not possible on %s", p.String(), o.Platform), "build on such a machine, or COPY files that were made there")
		}
	}
}

func mistake(f *kubefile.File, i kubefile.Instruction, message, hint string) *kubefile.Error {
	return &kubefile.Error{File: f.Name, Pos: i.Pos(), Text: shorten(firstLine(i.String())), Message: message, Hint: hint}
}

// reportUnknownArgs tells of build arguments that no ARG asks for.
func reportUnknownArgs(o Options) {
	known := map[string]bool{}
	declare := func(a *kubefile.Arg) {
		for _, p := range a.Pairs {
			known[p.Name] = true
		}
	}
	for _, a := range o.File.Args {
		declare(a)
	}
	for _, i := range o.File.Stages[0].Instructions {
		if a, ok := i.(*kubefile.Arg); ok {
			declare(a)
		}
	}
	for _, name := range append(proxyArgs(), predefinedNames()...) {
		known[name] = true
	}
	var unknown []string
	for name := range o.BuildArgs {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	for _, name := range unknown {
		o.Observe(artifact.Event{Kind: artifact.EventNote,
			Name: fmt.Sprintf("build argument %s: no ARG in %s asks for it%s", name, o.File.Name, didYouMean(name, keys(known)))})
	}
}
