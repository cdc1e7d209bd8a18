package kubefile

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentationParses holds the reference against the parser: every example
// parses, and every instruction has one.
func TestDocumentationParses(t *testing.T) {
	data, err := os.ReadFile("../docs/kubefile.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, match := range regexp.MustCompile("(?s)```Dockerfile\n(.*?)```").FindAllStringSubmatch(string(data), -1) {
		f, err := Parse("example", strings.NewReader(match[1]))
		if err != nil {
			t.Errorf("%s\n%v", match[1], err)
			continue
		}
		for _, stage := range f.Stages {
			if !stage.From.Implied {
				seen["FROM"] = true
			}
			for _, i := range stage.Instructions {
				seen[i.Keyword()] = true
			}
		}
	}
	for _, keyword := range keywords() {
		if !seen[keyword] {
			t.Errorf("no example of %s", keyword)
		}
		for _, flag := range flagsOf(keyword) {
			if !strings.Contains(string(data), "--"+flag.name) {
				t.Errorf("%s --%s is not described", keyword, flag.name)
			}
		}
	}
}
