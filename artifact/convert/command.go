package convert

import (
	"fmt"
	"regexp"
	"strings"
)

// shellArgv is how a command line is run.
func shellArgv(line string) []string { return []string{"/bin/sh", "-c", line} }

var (
	// variable is how sealos writes a variable in a command line, as Kubernetes does in the arguments of containers.
	variable = regexp.MustCompile(`\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)`)
	// changesDir is a command that leaves the directory which the next line expects.
	changesDir = regexp.MustCompile(`(^|[;&|({\s])(cd|pushd)\s`)
)

// joinLines makes one command of several command lines, each of which starts in the tree of the image, as in the tools
// that they are from. One that fails ends the command. None is no command.
func joinLines(lines []string) []string {
	var parts []string
	moved := false
	for _, line := range lines {
		line = strings.TrimRight(strings.TrimSpace(line), ";")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		whole := line
		if moved {
			whole = `cd "$SEALRT_ROOTFS" && ` + line
		}
		moved = moved || changesDir.MatchString(line)
		parts = append(parts, whole)
	}
	if len(parts) == 0 {
		return nil
	}
	if len(parts) > 1 {
		for i, line := range parts {
			if strings.HasSuffix(line, "&") || strings.ContainsAny(line, "#\n") { // nothing can follow on that line
				parts[i] = "{ " + line + "\n}"
			}
		}
	}
	return shellArgv(strings.Join(parts, " && "))
}

// expandLines writes the variables of sealos in a command line as the shell does. Those that the image does not set stay
// as they are: sealos would replace them where the user sets them, and otherwise leave them to the shell, for which they are
// commands.
func (r *Report) expandLines(lines []string, set map[string]bool) []string {
	list := make([]string, len(lines))
	for n, line := range lines {
		list[n] = r.expandLine(line, set)
	}
	return list
}

func (r *Report) expandLine(line string, set map[string]bool) string {
	var b strings.Builder
	end := 0
	for _, m := range variable.FindAllStringSubmatchIndex(line, -1) {
		b.WriteString(line[end:m[0]])
		end = m[1]
		text := line[m[0]:m[1]]
		if text == "$$" {
			b.WriteString("$")
			continue
		}
		name := line[m[2]:m[3]]
		switch {
		case !set[name]:
			r.remark("CMD", text, "the image sets no such variable, so the shell runs a command of that name: `-e` of sealrt run does not change it; build the image again with ${%s}", name)
			b.WriteString(text)
		case strings.Count(line[:m[0]], "'")%2 == 1:
			r.remark("CMD", line, "inside of single quotes the shell that reads them may not replace ${%s}", name)
			fallthrough
		default:
			fmt.Fprintf(&b, "${%s}", name)
		}
	}
	b.WriteString(line[end:])
	return b.String()
}
