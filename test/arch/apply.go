package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
)

// applyRoots are the entry points of the replicated state machine. Everything
// they reach must compute the same on every node.
var applyRoots = []string{"Apply", "ApplyBatch"}

// writers are the functions of the state machine that write. A loop over a map
// must not call them: its order differs from node to node.
var writers = []string{"put", "putRaw", "del", "putModule", "touch", "Put", "Delete"}

// function is a declared function or method of a package.
type function struct {
	file *file
	decl *ast.FuncDecl
}

// reached returns the functions of the package in dir that the roots reach. It
// is conservative: a function is reached if its name appears in a reached
// function, even as a name of something else. So methods, function values and
// calls through interfaces all count.
func reached(files []*file, dir string, roots []string) []function {
	byName := map[string][]function{}
	for _, f := range files {
		if path.Dir(f.path) != dir || f.isTest() {
			continue
		}

		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				byName[fn.Name.Name] = append(byName[fn.Name.Name], function{f, fn})
			}
		}
	}

	var out []function
	seen := map[string]bool{}
	for next := slices.Clone(roots); len(next) > 0; {
		name := next[0]
		next = next[1:]
		if seen[name] {
			continue
		}

		seen[name] = true

		for _, fn := range byName[name] {
			out = append(out, fn)
			ast.Inspect(fn.decl.Body, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && byName[id.Name] != nil {
					next = append(next, id.Name)
				}
				return true
			})
		}
	}

	slices.SortFunc(out, func(a, b function) int {
		return cmp.Or(strings.Compare(a.file.path, b.file.path), cmp.Compare(a.decl.Pos(), b.decl.Pos()))
	})

	return out
}

// checkApply returns the violations in functions that Apply reaches: what
// depends on the machine and the time.
func checkApply(files []*file) []string {
	maps := mapNames(files, "fsm")
	var wrong []string
	for _, fn := range reached(files, "fsm", applyRoots) {
		wrong = append(wrong, impure(fn.file, fn.decl.Body)...)
		wrong = append(wrong, unsortedWrites(fn, maps)...)
	}
	return wrong
}

// impure returns what depends on the machine and the time in a piece of a file:
// clocks, randomness, the system, goroutines.
func impure(f *file, body ast.Node) []string {
	var wrong []string
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			wrong = append(wrong, f.at(n)+": starts a goroutine, whose turn depends on chance")
		case *ast.SelectorExpr:
			id, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			imported := f.imported(id.Name)
			if imported == "time" && slices.Contains(clock, n.Sel.Name) {
				wrong = append(wrong, fmt.Sprintf("%s: time.%s reads this node's clock; the proposer sends times along", f.at(n), n.Sel.Name))
			}
			if imported != "net/url" && slices.ContainsFunc(impurePackages, func(p string) bool { return within(imported, p) }) {
				wrong = append(wrong, fmt.Sprintf("%s: %s.%s answers differently from node to node", f.at(n), imported, n.Sel.Name))
			}
		}

		return true
	})

	return wrong
}

// imported returns the path of the package that a name refers to in the file,
// "" for none.
func (f *file) imported(name string) string {
	for _, imp := range f.ast.Imports {
		p, _ := strconv.Unquote(imp.Path.Value)
		local := path.Base(p)
		if v := strings.TrimPrefix(local, "v"); v != local && v != "" && strings.Trim(v, "0123456789") == "" {
			local = path.Base(path.Dir(p))
		}

		if imp.Name != nil {
			local = imp.Name.Name
		}

		if local == name {
			return p
		}
	}

	return ""
}

// mapNames are the names of fields in a package that are maps.
func mapNames(files []*file, dir string) map[string]bool {
	out := map[string]bool{}
	for _, f := range files {
		if path.Dir(f.path) != dir || f.isTest() {
			continue
		}

		ast.Inspect(f.ast, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok {
				if _, isMap := field.Type.(*ast.MapType); isMap {
					for _, name := range field.Names {
						out[name.Name] = true
					}
				}
			}

			return true
		})
	}

	return out
}

// unsortedWrites returns the loops over maps that write. A map is recognized by
// the name of a field or parameter, or by how a variable of the function is
// made.
func unsortedWrites(fn function, fields map[string]bool) []string {
	local := map[string]bool{}
	for _, p := range fn.decl.Type.Params.List {
		for _, name := range p.Names {
			_, local[name.Name] = p.Type.(*ast.MapType)
		}
	}

	ast.Inspect(fn.decl.Body, func(n ast.Node) bool {
		if as, ok := n.(*ast.AssignStmt); ok && len(as.Lhs) == len(as.Rhs) {
			for i := range as.Rhs {
				if id, ok := as.Lhs[i].(*ast.Ident); ok && makesMap(as.Rhs[i]) {
					local[id.Name] = true
				}
			}
		}

		return true
	})

	var wrong []string
	ast.Inspect(fn.decl.Body, func(n ast.Node) bool {
		loop, ok := n.(*ast.RangeStmt)
		if !ok {
			return true
		}

		isMap := false
		switch x := loop.X.(type) {
		case *ast.Ident:
			isMap = local[x.Name]
		case *ast.SelectorExpr:
			// A name may belong to a list as well: those are looped over for
			// their values.
			isMap = fields[x.Sel.Name] && !isPkg(loop.Key, "_")
		}

		if isMap && writes(loop.Body) {
			wrong = append(wrong, fn.file.at(loop)+": writes in the order of a map, which differs from node to node; sort its keys")
		}

		return true
	})

	return wrong
}

// makesMap reports whether an expression is a map literal or made by make.
func makesMap(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CompositeLit:
		_, ok := e.Type.(*ast.MapType)
		return ok
	case *ast.CallExpr:
		if id, ok := e.Fun.(*ast.Ident); ok && id.Name == "make" && len(e.Args) > 0 {
			_, ok := e.Args[0].(*ast.MapType)
			return ok
		}
	}

	return false
}

// writes reports whether a body calls one of the writers.
func writes(body ast.Node) bool {
	found := false
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}

		switch f := call.Fun.(type) {
		case *ast.Ident:
			found = found || slices.Contains(writers, f.Name)
		case *ast.SelectorExpr:
			found = found || slices.Contains(writers, f.Sel.Name)
		}

		return true
	})

	return found
}
