package kubefile

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentationParses holds the reference against the parser: every example parses, and every instruction and every
// flag has one. That the examples build is tested in package builder.
func TestDocumentationParses(t *testing.T) {
	data, err := os.ReadFile("../docs/kubefile.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, match := range regexp.MustCompile("(?s)```Kubefile\n(.*?)```").FindAllStringSubmatch(string(data), -1) {
		f, err := Parse("example", strings.NewReader(match[1]))
		if err != nil {
			t.Errorf("%s\n%v", match[1], err)
			continue
		}
		for _, stage := range f.Stages {
			if !stage.From.Implied {
				see(seen, stage.From)
			}
			for _, i := range stage.Instructions {
				see(seen, i)
			}
		}
	}
	for _, keyword := range keywords() {
		if !seen[keyword] {
			t.Errorf("no example of %s", keyword)
		}
		for _, flag := range flagsOf(keyword) {
			if !seen[keyword+" --"+flag.name] {
				t.Errorf("no example of %s --%s", keyword, flag.name)
			}
		}
	}
	for _, kind := range []string{"bind", "cache", "tmpfs", "secret"} {
		if !seen["RUN --mount="+kind] {
			t.Errorf("no example of RUN --mount=type=%s", kind)
		}
	}
}

// see notes an instruction and its flags, by their canonical text.
func see(seen map[string]bool, i Instruction) {
	keyword := i.Keyword()
	seen[keyword] = true
	for _, word := range strings.Fields(i.String())[1:] {
		name, value, _ := strings.Cut(word, "=")
		if !strings.HasPrefix(name, "--") {
			break
		}
		seen[keyword+" "+name] = true
		if kind, ok := strings.CutPrefix(value, "type="); ok {
			kind, _, _ = strings.Cut(kind, ",")
			seen[keyword+" "+name+"="+kind] = true
		}
	}
}
