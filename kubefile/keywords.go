package kubefile

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/moby/buildkit/util/suggest"
)

// reader returns the function that reads the instruction with a keyword, nil if
// there is no such instruction. The function adds mistakes to the statement's;
// its result is nil if it cannot make an instruction of the statement.
func reader(keyword string) func(*statement) Instruction {
	switch keyword {
	case "FROM":
		return (*statement).from
	case "ARG":
		return (*statement).arg
	case "ENV":
		return (*statement).env
	case "LABEL":
		return (*statement).label
	case "MAINTAINER":
		return (*statement).maintainer
	case "COPY":
		return (*statement).copy
	case "ADD":
		return (*statement).add
	case "RUN":
		return (*statement).run
	case "WORKDIR":
		return (*statement).workdir
	case "USER":
		return (*statement).user
	case "SHELL":
		return (*statement).shell
	case "CMD":
		return (*statement).cmd
	case "ENTRYPOINT":
		return (*statement).entrypoint
	case "BASE":
		return (*statement).base
	}
	return nil
}

// keywords returns all keywords, those first that are used most.
func keywords() []string {
	return []string{"FROM", "COPY", "RUN", "BASE", "CMD", "ARG", "ENV", "LABEL", "ENTRYPOINT", "ADD", "WORKDIR",
		"USER", "SHELL", "MAINTAINER"}
}

// foreign returns what is wrong with an instruction that other tools know, and
// what to write instead.
func foreign(keyword string) (message, hint string) {
	const docker = "a cluster image has no use for %s"
	const sealer = "%s is an instruction of sealer's Kubefiles"
	switch keyword {
	case "HEALTHCHECK":
		return fmt.Sprintf(docker, keyword), "leave the line out; probes belong to the pods under manifests/, as readinessProbe for one"
	case "EXPOSE":
		return fmt.Sprintf(docker, keyword), "leave the line out; ports are declared by a Service under manifests/"
	case "VOLUME":
		return fmt.Sprintf(docker, keyword), "leave the line out; volumes are declared by the pods under manifests/"
	case "ONBUILD":
		return fmt.Sprintf(docker, keyword), "leave the line out, and write the instruction after it into the Kubefile whose FROM names this image"
	case "STOPSIGNAL":
		return fmt.Sprintf(docker, keyword), "leave the line out; a preStop hook in the pods under manifests/ does this"
	case "APP", "CNI", "CSI":
		return fmt.Sprintf(sealer, keyword), "write COPY <files> manifests/ or COPY <chart> charts/, and CMD for the command that applies them"
	case "LAUNCH", "CMDS", "APPCMDS":
		return fmt.Sprintf(sealer, keyword), "write CMD <command> && <command>"
	case "APPENV":
		return fmt.Sprintf(sealer, keyword), "write ENV <name>=<value>"
	case "KUBEVERSION":
		return fmt.Sprintf(sealer, keyword), "write the version of the base image in FROM, or a LABEL"
	}
	return "", ""
}

// unknownInstruction returns what is wrong with a word that is no keyword. before is the keyword of the command that the
// line may go on with, "" if there is none.
func unknownInstruction(word, before string, indented bool, escape rune) (message, hint string) {
	if message, hint := foreign(strings.ToUpper(word)); message != "" {
		return message, hint
	}
	message = fmt.Sprintf("unknown instruction %q", shorten(word))
	if i := strings.IndexFunc(word, unicode.IsSpace); i > 0 && reader(strings.ToUpper(word[:i])) != nil {
		r := []rune(word[i:])[0]
		return message, fmt.Sprintf("the space after %s is the character U+%04X: write a plain space", word[:i], r)
	}
	near := nearKeyword(word)
	switch {
	case before != "" && (indented || near == ""):
		return message, fmt.Sprintf("if it belongs to the %s before it, end the line before with %c", before, escape)
	case near != "":
		return message, fmt.Sprintf("did you mean %s?", near)
	}
	return message, "an instruction begins with one of " + strings.Join(keywords(), ", ")
}

// nearKeyword returns the keyword that a word is meant to be, "" if it looks like none.
func nearKeyword(word string) string {
	if strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }) {
		return ""
	}
	match, ok := suggest.Search(word, keywords(), false)
	// Two letters of a short word may be all of it: then the first must be right.
	if !ok || len(word) <= 3 && !strings.EqualFold(match[:1], word[:1]) {
		return ""
	}
	return strings.ToUpper(match)
}
