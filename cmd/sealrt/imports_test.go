package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/sealrt/sealrt"

// imports is the table of docs and CONTRIBUTING: who may import whom, of our
// own packages. A name with /... means what is below it too. The first row that
// fits a package counts.
var imports = []struct {
	who  string
	whom []string
}{
	{"kubefile", nil},
	{"artifact/layer", nil},
	{"runtime/host/hosttest", []string{"runtime/host"}},
	{"runtime/host", nil},
	{"runtime/clusterfile", []string{"runtime/host"}}, // addresses
	{"artifact/disk", nil},
	{"artifact", []string{"artifact/layer", "artifact/disk"}},
	{"artifact/store", []string{"artifact", "artifact/layer", "artifact/disk"}},
	{"artifact/registry", []string{"artifact", "artifact/disk"}},
	{"artifact/archive", []string{"artifact", "artifact/layer", "artifact/disk", "artifact/store"}},
	{"artifact/airgap/layout", []string{"artifact", "artifact/layer"}},
	{"artifact/airgap/transport", []string{"artifact", "artifact/layer"}},
	{"artifact/airgap/registrytest", []string{"artifact/layer", "artifact/store"}},
	{"artifact/airgap/export", []string{"artifact", "artifact/layer", "artifact/airgap/layout", "artifact/archive"}},
	{"artifact/airgap", []string{"artifact", "artifact/layer", "artifact/airgap/layout", "artifact/airgap/transport", "artifact/store"}},
	{"artifact/airgap/airgaptest", []string{"artifact", "artifact/layer", "artifact/registry", "artifact/store", "artifact/airgap/..."}}, // fetches
	{"artifact/airgap/...", []string{"artifact", "artifact/layer", "artifact/store", "artifact/airgap/..."}},
	{"artifact/trust/policy", []string{"artifact", "artifact/trust"}},
	{"artifact/convert/...", []string{"artifact", "artifact/layer", "artifact/store", "artifact/airgap/..."}},
	{"artifact/merge", []string{"artifact", "artifact/layer", "artifact/store", "artifact/airgap", "artifact/airgap/layout"}},
	{"artifact/contents", []string{"artifact", "artifact/layer", "artifact/airgap/layout"}},
	{"artifact/mount", []string{"artifact", "artifact/layer", "artifact/disk"}},
	{"artifact/sbom", []string{"artifact", "artifact/contents"}},
	{"artifact/...", []string{"artifact", "artifact/layer"}},
	{"builder/...", []string{"kubefile", "artifact/...", "builder/..."}},
	{"runtime/...", []string{"artifact/...", "runtime/..."}},
	{"distros", []string{"distros/...", "runtime"}},
	{"distros/distrotest", []string{"runtime/...", "artifact"}}, // makes such an image
	{"distros/...", []string{"runtime/..."}},
	{"cmd/sealrt", []string{"..."}},
	{"examples/...", []string{"..."}},
	{"e2e/...", []string{"..."}},
}

// fits reports whether a pattern of the table means a package.
func fits(pattern, pkg string) bool {
	parent, below := strings.CutSuffix(pattern, "...")
	parent = strings.TrimSuffix(parent, "/")
	return pkg == parent || below && (parent == "" || strings.HasPrefix(pkg, parent+"/"))
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath, Dir, Doc string
	Imports, GoFiles     []string
}

// ourPackages lists the packages of this module as one system sees them.
func ourPackages(t *testing.T, system string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestImportsFollowTheArchitecture(t *testing.T) {
	for _, system := range []string{"linux", "darwin"} {
		for _, p := range ourPackages(t, system) {
			who := strings.TrimPrefix(p.ImportPath, modulePath+"/")
			row := slices.IndexFunc(imports, func(r struct {
				who  string
				whom []string
			}) bool {
				return fits(r.who, who)
			})
			if row < 0 {
				t.Errorf("%s has no place in the architecture: say in this table what it may import", who)
				continue
			}
			for _, imported := range p.Imports {
				whom, ours := strings.CutPrefix(imported, modulePath+"/")
				if ours && !slices.ContainsFunc(imports[row].whom, func(pattern string) bool { return fits(pattern, whom) }) {
					t.Errorf("%s imports %s", who, whom)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range ourPackages(t, "linux") {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestNoPackageIsADumpingGround(t *testing.T) {
	banned := []string{"pkg", "internal", "util", "utils", "common", "constants", "helper", "helpers", "base", "impl", "manager"}
	for _, p := range ourPackages(t, "linux") {
		for dir := strings.TrimPrefix(p.ImportPath, modulePath+"/"); dir != "."; dir = path.Dir(dir) {
			if slices.Contains(banned, path.Base(dir)) {
				t.Errorf("%s: a folder called %s says nothing about what is in it", p.ImportPath, path.Base(dir))
			}
		}
	}
}

func TestNothingHappensBeforeMain(t *testing.T) {
	for _, p := range ourPackages(t, "linux") {
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range file.Decls {
				if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
					t.Errorf("%s/%s has an init function", p.ImportPath, name)
				}
			}
		}
	}
}
