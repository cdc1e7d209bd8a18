package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/sealrt/sealrt/artifact/airgap/lint"

	"github.com/sealrt/sealrt/builder"
)

// treeReport is what is found out about the tree of one platform.
type treeReport struct {
	builder.Needed
	findings []lint.Finding
}

// tell tells what is no matter of one image.
func (r *treeReport) tell(env *environment) {
	on := r.Platform.String() + ": "
	if r.None {
		env.note("%sBASE none: no container images are collected", on)
	} else if len(r.findings) == 0 {
		env.note("%sthe tree asks for no container images", on)
	}
	for _, text := range r.Notes {
		env.note("%s%s", on, text)
	}
	floating := 0
	for _, f := range r.findings {
		if f.Floats {
			floating++
		}
	}
	if floating > 0 {
		env.note("%s%d of the images may be other ones tomorrow: name them with their digests, or build with --lock and then --frozen", on, floating)
	}
}

// printFindings prints a table.
func printFindings(env *environment, reports []treeReport) error {
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	if len(reports) > 1 {
		fmt.Fprint(w, "PLATFORM\t")
	}
	fmt.Fprintln(w, "IMAGE\tSTATE\tWHERE")
	for _, r := range reports {
		for _, f := range r.findings {
			if len(reports) > 1 {
				fmt.Fprintf(w, "%s\t", r.Platform)
			}
			image := f.Image
			if image == "" {
				image = "-"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", image, stateText(f), strings.Join(f.Where, ", "))
		}
	}
	return w.Flush()
}

// stateText says in a few words what there is to say of an image.
func stateText(f lint.Finding) string {
	words := []string{string(f.State)}
	if f.Held && f.State != lint.StateSuperfluous {
		words = append(words, "in images/")
	}
	switch {
	case f.Floats && strings.HasSuffix(f.Image, ":latest"):
		words = append(words, "floating (latest)")
	case f.Floats:
		words = append(words, "floating")
	}
	if f.AnyPlatform {
		words = append(words, "names no platform")
	}
	return strings.Join(words, ", ")
}

// verdict returns an error that lists all that is wrong.
func (f *lintFlags) verdict(reports []treeReport) error {
	least := lint.Wrong
	if f.strict {
		least = lint.Warning
	}
	var lines []string
	for _, r := range reports {
		for _, finding := range r.findings {
			if finding.Severity() < least {
				continue
			}
			line := problem(finding)
			if len(reports) > 1 {
				line = r.Platform.String() + ": " + line
			}
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%d of the findings are to be mended:\n  %s\ncorrect these lines, or make the images available where they are looked for", len(lines), strings.Join(lines, "\n  "))
}

// problem is a sentence about what is wrong with an image.
func problem(f lint.Finding) string {
	where := strings.Join(f.Where, ", ")
	switch {
	case f.Err == nil:
		return fmt.Sprintf("%s: %s: %s", where, f.Image, stateText(f))
	case where == "" || strings.HasPrefix(f.Err.Error(), where):
		return f.Err.Error()
	case f.State == lint.StateBad:
		return fmt.Sprintf("%s: %q: %v", where, f.Image, f.Err)
	}
	return fmt.Sprintf("%s: %v", where, f.Err)
}

// lintJSON is what image lint -o json prints.
type lintJSON struct {
	Platforms []lintedJSON `json:"platforms"`
}

// lintedJSON is the tree of one platform.
type lintedJSON struct {
	Platform string        `json:"platform"`
	BaseNone bool          `json:"baseNone,omitempty"` // BASE none: nothing is collected
	Images   []findingJSON `json:"images"`
	Notes    []string      `json:"notes,omitempty"`
}

// findingJSON is one row.
type findingJSON struct {
	Image       string   `json:"image,omitempty"`
	State       string   `json:"state"`
	Severity    string   `json:"severity"` // fine, warning, error
	Where       []string `json:"where,omitempty"`
	Held        bool     `json:"held,omitempty"` // images/ of the tree has it
	Floats      bool     `json:"floats,omitempty"`
	AnyPlatform bool     `json:"anyPlatform,omitempty"` // the image names none
	Digest      string   `json:"digest,omitempty"`      // that the name means now
	Problem     string   `json:"problem,omitempty"`
}

func lintReport(reports []treeReport) lintJSON {
	var all lintJSON
	for _, r := range reports {
		j := lintedJSON{Platform: r.Platform.String(), BaseNone: r.None, Images: []findingJSON{}, Notes: r.Notes}
		for _, f := range r.findings {
			row := findingJSON{
				Image: f.Image, State: string(f.State), Severity: [...]string{"fine", "warning", "error"}[f.Severity()], Where: f.Where,
				Held: f.Held, Floats: f.Floats, AnyPlatform: f.AnyPlatform,
			}
			if f.Digest.Hex != "" {
				row.Digest = f.Digest.String()
			}
			if f.Err != nil {
				row.Problem = f.Err.Error()
			}
			j.Images = append(j.Images, row)
		}
		all.Platforms = append(all.Platforms, j)
	}
	return all
}
