package proa

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layers is what each folder may import of ours, the longest matching folder first. A folder may always import itself and what lies
// below it.
var layers = []struct {
	folder string
	may    []string
}{
	{"object", nil},
	{"kit", []string{"kit"}},
	{"config", nil},
	{"store", []string{"kit"}},
	{"pki", []string{"kit"}},
	{"client", []string{"object", "kit"}},
	{"kinds", []string{"object"}},
	{"apiserver", []string{"object", "kit", "store", "pki", "client", "kinds"}},
	{"control", []string{"object", "kit", "client", "kinds"}},
	{"scheduler", []string{"object", "kit", "client", "kinds"}},
	{"sim", []string{"object", "kit", "client", "kinds"}},
	{"kubelet", []string{"object", "kit", "client", "kinds"}},
	{"runtime", []string{"kit"}},
	{"network", []string{"object", "kit", "client", "kinds"}},
	{"process", []string{"object", "kit", "config", "store", "pki", "client", "kinds", "apiserver", "control", "scheduler", "sim", "kubelet", "runtime", "network"}},
	{"cli", []string{"kit", "config", "process"}},
	{"cmd/proa-keeper", []string{"runtime/keeper", "network/dns/standby"}},
	{"cmd/proa", []string{"cli"}},
	{"cmd/kubectl", nil},
	{"examples", []string{"runtime/archive", "kit"}},
	{"test", []string{"object", "kit", "config", "store", "pki", "client", "kinds", "apiserver", "control", "scheduler", "sim", "kubelet", "runtime", "network", "process"}},
}

// exceptions are the packages that stand above a limit today, with their figure, which may only shrink.
var exceptions = map[string]int{
	"apiserver fan-out": 15, // the chain names every stage
	"kubelet fan-out":   15, // New names every part
	"kinds/core lines":  6200,
}

// What the house allows at most. A figure may only shrink.
const (
	maxFileLines    = 800
	maxFuncLines    = 100
	maxFanOut       = 12 // packages of ours that one package imports, process and test excepted
	maxDepth        = 14 // longest chain of our packages
	maxMedianReach  = 10 // packages of ours that the median package pulls in
	maxPackageLines = 6000
)

const module = "proa.dev/"

// pkg is one folder with Go files.
type pkg struct {
	imports map[string]bool // ours, without the module's name; not those of tests
	lines   int
	doc     bool
}

func TestArchitecture(t *testing.T) {
	all := map[string]*pkg{}
	walkGo(t, func(path string, file *ast.File, fset *token.FileSet) {
		folder := filepath.Dir(path)
		p := all[folder]
		if p == nil {
			p = &pkg{imports: map[string]bool{}}
			all[folder] = p
		}
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		p.doc = p.doc || filepath.Base(path) == "doc.go" && file.Doc != nil
		p.lines += fset.File(file.Pos()).LineCount()
		for _, i := range file.Imports {
			if ours, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module); ok {
				p.imports[ours] = true
			}
		}
		checkSizes(t, path, file, fset)
	})
	var reaches []int
	for folder, p := range all {
		if !p.doc {
			t.Errorf("%s has no doc.go with a package comment", folder)
		}
		if limit := max(maxPackageLines, exceptions[folder+" lines"]); p.lines > limit {
			t.Errorf("%s has %d lines, more than %d", folder, p.lines, limit)
		}
		if folder == "." {
			continue
		}
		checkLayer(t, folder, p)
		seen := map[string]bool{}
		depth := reach(all, folder, seen)
		reaches = append(reaches, len(seen))
		top := strings.HasPrefix(folder, "process") || strings.HasPrefix(folder, "test")
		if limit := max(maxFanOut, exceptions[folder+" fan-out"]); len(p.imports) > limit && !top && folder != "kinds/all" {
			t.Errorf("%s imports %d packages of ours, more than %d", folder, len(p.imports), limit)
		}
		if depth > maxDepth {
			t.Errorf("%s stands on a chain of %d packages, more than %d", folder, depth, maxDepth)
		}
	}
	slices.Sort(reaches)
	if m := reaches[len(reaches)/2]; m > maxMedianReach {
		t.Errorf("the median package pulls in %d packages of ours, more than %d", m, maxMedianReach)
	}
}

func checkLayer(t *testing.T, folder string, p *pkg) {
	within := func(path, layer string) bool { return path == layer || strings.HasPrefix(path, layer+"/") }
	for _, l := range layers {
		if !within(folder, l.folder) {
			continue
		}
		for i := range p.imports {
			if !within(i, l.folder) && !slices.ContainsFunc(l.may, func(m string) bool { return within(i, m) }) {
				t.Errorf("%s must not import %s", folder, i)
			}
		}
		return
	}
	t.Errorf("%s stands in no layer: add it to the table", folder)
}

// reach collects what folder pulls in and returns the longest chain below it.
func reach(all map[string]*pkg, folder string, seen map[string]bool) (depth int) {
	p := all[folder]
	if p == nil {
		return 0
	}
	for i := range p.imports {
		seen[i] = true
		depth = max(depth, 1+reach(all, i, seen))
	}
	return depth
}

// checkSizes looks at one file that people write. A function that is a table says so with "table:" in its comment.
func checkSizes(t *testing.T, path string, file *ast.File, fset *token.FileSet) {
	if ast.IsGenerated(file) {
		return
	}
	if n := fset.File(file.Pos()).LineCount(); n > maxFileLines {
		t.Errorf("%s has %d lines, more than %d", path, n, maxFileLines)
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Doc != nil && strings.Contains(f.Doc.Text(), "table:") {
			continue
		}
		if n := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1; n > maxFuncLines {
			t.Errorf("%s: %s has %d lines, more than %d", path, f.Name.Name, n, maxFuncLines)
		}
	}
}

func walkGo(t *testing.T, fn func(path string, file *ast.File, fset *token.FileSet)) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || path != "." && strings.HasPrefix(d.Name(), ".") || path == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		fn(path, file, fset)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDependenciesAreReviewed holds go.mod's direct requirements against deps.txt.
func TestDependenciesAreReviewed(t *testing.T) {
	reviewed := map[string]bool{}
	for _, line := range readLines(t, "deps.txt") {
		if module, why, ok := strings.Cut(line, " "); ok && strings.TrimSpace(why) != "" && module != "#" {
			reviewed[module] = true
		}
	}
	for _, line := range readLines(t, "go.mod") {
		word, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "require "), " ")
		if !strings.Contains(line, " v") || strings.Contains(line, "// indirect") || !strings.Contains(word, ".") {
			continue
		}
		if !reviewed[word] {
			t.Errorf("%s is a direct dependency without a line in deps.txt", word)
		}
		delete(reviewed, word)
	}
	for m := range reviewed {
		t.Errorf("deps.txt lists %s, which go.mod does not require directly", m)
	}
}

func readLines(t *testing.T, path string) (lines []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		lines = append(lines, in.Text())
	}
	return lines
}
