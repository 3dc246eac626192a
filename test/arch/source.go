package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxLines is how long a file may be. Most should stay below 400.
const maxLines = 600

// file is a parsed source file of the repository.
type file struct {
	// path is relative to the repository, with slashes.
	path  string
	fset  *token.FileSet
	ast   *ast.File
	lines int
}

// at returns the position of a node as path:line.
func (f *file) at(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

// isTest reports whether the file is only compiled for tests.
func (f *file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// parseTree parses every Go file below root but for testdata, hidden directories and
// Go modules of their own.
func parseTree(root string) ([]*file, error) {
	var files []*file
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}

		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "vendor" || name == "bin") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
				return filepath.SkipDir
			}
			return nil
		}

		if !strings.HasSuffix(name, ".go") || strings.HasPrefix(name, ".") {
			return nil
		}

		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}

		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}

		f, err := parseFile(filepath.ToSlash(rel), src)
		if err != nil {
			return err
		}

		files = append(files, f)

		return nil
	})

	return files, err
}

// parseFile parses one file.
func parseFile(path string, src []byte) (*file, error) {
	fset := token.NewFileSet()
	a, err := parser.ParseFile(fset, path, src, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return &file{path: path, fset: fset, ast: a, lines: strings.Count(string(src), "\n")}, nil
}

// pure reports whether the file must compute the same on every node: the
// planner and the nouns. The code that applies entries to the replicated state
// is found by its call graph, see checkApply.
func pure(path string) bool {
	return !strings.HasSuffix(path, "_test.go") &&
		(within(path, "scheduler") || within(path, "pipeline") && !within(path, "pipeline/language"))
}

// clock are the functions of package time that read or wait for a clock.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep"}

// impurePackages are those whose answers differ from node to node.
var impurePackages = []string{"os", "net", "math/rand", "crypto/rand", "syscall"}

// checkPurity returns what depends on the machine and the time in a pure file.
func checkPurity(f *file) []string {
	if !pure(f.path) {
		return nil
	}

	var wrong []string
	for _, imp := range f.ast.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		if path == "net/url" {
			continue // works on text alone, in spite of its place
		}
		if slices.ContainsFunc(impurePackages, func(p string) bool { return within(path, p) }) {
			wrong = append(wrong, fmt.Sprintf("%s: imports %s, whose answers differ from node to node", f.at(imp), path))
		}
	}

	return append(wrong, impure(f, f.ast)...)
}

// isPkg reports whether e is the name of a package.
func isPkg(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// isCall reports whether e calls one of pkg's functions; no names means any.
func isCall(e ast.Node, pkg string, names ...string) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && isPkg(sel.X, pkg) && (len(names) == 0 || slices.Contains(names, sel.Sel.Name))
}
