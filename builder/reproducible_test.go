package builder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// reproduceEnv makes TestReproducible build the cases below the directory that it names and list the digests.
const reproduceEnv = "SEALRT_TEST_REPRODUCE"

// TestReproducible builds the examples, the recipes of the distributions, the cases of the language and one of large
// files in two other processes: with other roots, users (as root), umasks, time zones, clocks, times of files, numbers of
// processors and of jobs. No digest may differ.
func TestReproducible(t *testing.T) {
	if dir := os.Getenv(reproduceEnv); dir != "" {
		reproduce(t, dir)
		return
	}
	one := reproduceAs(t, "0022", 0, "TZ=UTC", "GOMAXPROCS=1")
	two := reproduceAs(t, "0077", nobody, "TZ=Asia/Kolkata", "GOMAXPROCS=4", "HOME=/nonexistent")
	if strings.Count(one, "\n") < 50 {
		t.Errorf("only these were built:\n%s", one)
	}
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("(-one +two)\n%s", diff)
	}
}

// nobody is a user who owns nothing.
const nobody = 65534

// reproduceAs builds all cases in a process of its own and returns the list of digests.
func reproduceAs(t *testing.T, umask string, uid uint32, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // whatever the umask is
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	reproducibleCases(t, filepath.Join(dir, "cases"))
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	copyProgram(t, program)
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestReproducible$", "-test.count=1")
	cmd.Dir = work
	cmd.Env = append(os.Environ(), reproduceEnv+"="+dir, "TMPDIR="+work, "SEALRT_TEST_UMASK="+umask)
	cmd.Env = append(cmd.Env, env...)
	if uid != 0 && os.Geteuid() == 0 && reachable(dir) {
		if err := os.Chown(work, int(uid), int(uid)); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	list, err := os.ReadFile(filepath.Join(work, "digests"))
	if err != nil {
		t.Fatal(err)
	}
	return string(list)
}

// reachable says whether every user can enter dir.
func reachable(dir string) bool {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode()&0o001 == 0 {
			return false
		}
	}
	return true
}

func copyProgram(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err == nil {
		err = os.Chmod(to, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// reproducibleCases copies what is to be built: directories as languageOptions reads them.
func reproducibleCases(t *testing.T, to string) {
	t.Helper()
	raw := t.TempDir()
	for _, pattern := range []string{"testdata/language/*", "../examples/*", "../distros/*/image"} {
		dirs, err := filepath.Glob(pattern)
		if err != nil || len(dirs) == 0 {
			t.Fatalf("%s: %v, %v", pattern, dirs, err)
		}
		for _, dir := range dirs {
			copyCase(t, dir, filepath.Join(raw, strings.ReplaceAll(strings.TrimPrefix(dir, "../"), "/", "-")))
		}
	}
	files := map[string]string{"large/Kubefile": "FROM scratch\nCOPY . .\n"}
	for i := range 3 {
		files[fmt.Sprintf("large/context/large%d", i)] = strings.Repeat(fmt.Sprintf("line %d of a text that compresses\n", i), 9<<20/33)
	}
	for i := range 300 {
		files[fmt.Sprintf("large/context/small/%d/%d", i%7, i)] = strings.Repeat(fmt.Sprintln(i), 10*i)
	}
	addFiles(t, raw, files)
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o755); err != nil {
		t.Fatal(err)
	}
	copyContext(t, raw, to) // which gives modes that do not depend on the umask
}

// copyCase copies the case in dir; an image's folder is context and Kubefile in one.
func copyCase(t *testing.T, dir, to string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "Kubefile"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "\nRUN ") || strings.Contains(string(text), "\nBASE ") { // the network, or BASE none twice
		return
	}
	into := to
	if _, err := os.Stat(filepath.Join(dir, "want")); err != nil {
		into = filepath.Join(to, "context")
		addFiles(t, to, map[string]string{"Kubefile": string(text)})
		for _, known := range artifact.Binaries { // a recipe has no programs
			addFiles(t, into, map[string]string{known.Path: "a program\n"})
		}
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		t.Fatal(err)
	}
	copyContext(t, dir, into)
}

// reproduce builds the cases below dir and lists their digests in the working directory.
func reproduce(t *testing.T, dir string) {
	var umask, jobs int
	if _, err := fmt.Sscanf(os.Getenv("SEALRT_TEST_UMASK"), "%o", &umask); err != nil {
		t.Fatal(err)
	}
	if jobs = 1; umask != 0o022 {
		jobs = 8
	}
	cases, err := filepath.Glob(filepath.Join(dir, "cases/*/Kubefile"))
	if err != nil {
		t.Fatal(err)
	}
	from := sameImage(t)
	var list bytes.Buffer
	for _, name := range cases {
		o := languageOptions(t, filepath.Dir(name))
		o.File = parse(t, caseText(t, name))
		o.Source, o.Jobs = from, jobs
		later := time.Unix(1_500_000_000, 0).Add(time.Duration(umask) * time.Hour)
		o.Now = func() time.Time { later = later.Add(time.Duration(umask) * time.Second); return later }
		age(t, o.Context, later)
		syscall.Umask(umask)
		d, err := Build(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fmt.Fprintln(&list, filepath.Base(filepath.Dir(name)), d.Digest)
	}
	if err := os.WriteFile("digests", list.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cases by user %d on %d processors", len(cases), os.Geteuid(), runtime.GOMAXPROCS(0))
}

func caseText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// age gives all files below dir times of their own.
func age(t *testing.T, dir string, to time.Time) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink != 0 {
			return err
		}
		to = to.Add(time.Minute)
		return os.Chtimes(p, to.Add(time.Hour), to)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sameImage returns a source in which every name means the same small image.
func sameImage(t *testing.T) artifact.Source {
	t.Helper()
	o := options(t, "FROM scratch\nCOPY app /\nBASE none\n", map[string]string{"app": "app"})
	b := mustBuild(t, o)
	return oneImage{o.Store, o.Tags[0], b.desc}
}

type oneImage struct {
	store *store.Store
	name  artifact.Reference
	desc  v1.Descriptor
}

// Resolve implements artifact.Source.
func (s oneImage) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return s.desc, nil
}

// Open implements artifact.Source.
func (s oneImage) Open(ctx context.Context, _ artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	return s.store.Open(ctx, s.name, d, offset)
}
