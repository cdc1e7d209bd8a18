package clusterfile_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// Every field has an effect, and the guide says which.
func TestGuideSaysWhereEveryFieldTakesEffect(t *testing.T) {
	raw, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(raw), "## Where fields take effect\n")
	if !found {
		t.Fatal("the guide has no such section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	told := map[string]bool{}
	for row := range strings.Lines(section) {
		cells := strings.Split(row, "|")
		if len(cells) != 5 {
			continue
		}
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			told[name[1]] = true
		}
	}
	for _, name := range regexp.MustCompile("(?m)^\\| `spec\\.([^`]+)`").FindAllStringSubmatch(clusterfile.Reference(), -1) {
		field := name[1]
		for field != "" && !told[field] && !told[strings.TrimSuffix(field, "[]")] {
			field = field[:max(strings.LastIndex(field, "."), 0)]
		}
		group := strings.HasSuffix(name[1], "hosts[]") || name[1] == "network" || name[1] == "dataDir" || name[1] == "registry"
		if field == "" && !group {
			t.Errorf("%s: where does it take effect?", name[1])
		}
	}
}
