package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// allowErrorText in a comment on the line, or on the one above, permits a
// comparison with an error's text. A reason must follow it: a library without
// typed errors is one.
const allowErrorText = "arch:allow-error-text "

// checkHabits returns what is wrong with a file apart from its imports.
func checkHabits(f *file) []string {
	var wrong []string
	if f.lines > maxLines {
		wrong = append(wrong, fmt.Sprintf("%s: %d lines; split it, %d is the limit", f.path, f.lines, maxLines))
	}
	wrong = append(wrong, checkSleeps(f)...)
	wrong = append(wrong, checkExits(f)...)
	return append(wrong, checkErrorText(f)...)
}

// checkSleeps finds tests that wait for a time and not for a condition. Exempt
// are code under testing/synctest, with its fake clock, the helper elapse,
// which works only there, and the helper eventually of the benchmarks, which
// are no tests.
func checkSleeps(f *file) []string {
	if !f.isTest() && !within(f.path, "test") {
		return nil
	}

	var wrong []string
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && (fn.Name.Name == "elapse" || fn.Name.Name == "eventually" && !f.isTest()) {
			continue
		}

		ast.Inspect(d, func(n ast.Node) bool {
			if n == nil || isCall(n, "synctest", "Test", "Run") {
				return false
			}
			if isCall(n, "time", "Sleep") {
				wrong = append(wrong, f.at(n)+": a test that sleeps is slow or wrong; wait for the condition with testutil.Eventually")
			}
			return true
		})
	}

	return wrong
}

// checkExits finds code that ends the process outside of a command.
func checkExits(f *file) []string {
	if f.isTest() || within(f.path, "cmd") || f.ast.Name.Name == "main" || exits[f.path] != "" {
		return nil
	}

	var wrong []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if n != nil && (isCall(n, "os", "Exit") || isCall(n, "log", "Fatal", "Fatalf", "Fatalln")) {
			wrong = append(wrong, f.at(n)+": only commands end the process; return an error")
		}
		return true
	})

	return wrong
}

// checkErrorText finds decisions that are made by an error's text.
func checkErrorText(f *file) []string {
	if f.isTest() {
		return nil
	}

	allowed := map[int]bool{}
	for _, g := range f.ast.Comments {
		for _, c := range g.List {
			if i := strings.Index(c.Text, allowErrorText); i >= 0 && strings.TrimSpace(c.Text[i+len(allowErrorText):]) != "" {
				line := f.fset.Position(c.Pos()).Line
				allowed[line], allowed[line+1] = true, true
			}
		}
	}

	var wrong []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		var sides []ast.Expr
		switch n := n.(type) {
		case *ast.BinaryExpr:
			// A future's Error() beside nil is no text.
			if (n.Op == token.EQL || n.Op == token.NEQ) && !isNil(n.X) && !isNil(n.Y) {
				sides = []ast.Expr{n.X, n.Y}
			}
		case *ast.SwitchStmt:
			sides = []ast.Expr{n.Tag}
		case *ast.CallExpr:
			if isCall(n, "strings", "Contains", "HasPrefix", "HasSuffix", "EqualFold", "Index") {
				sides = n.Args
			}
		}

		for _, s := range sides {
			if isErrorText(s) && !allowed[f.fset.Position(n.Pos()).Line] {
				wrong = append(wrong, f.at(n)+": decides by an error's text; use errors.Is, errors.As or pipeline.KindOf")
			}
		}

		return true
	})

	return wrong
}

func isNil(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == "nil"
}

// isErrorText reports whether e is a call of a method Error without arguments.
func isErrorText(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok || len(call.Args) != 0 {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Error"
}

// checkDocs returns the packages without a package comment.
func checkDocs(pkgs []pkg) []string {
	var wrong []string
	for _, p := range pkgs {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			wrong = append(wrong, p.ImportPath+" has no package comment: its job, and what it must not know")
		}
	}
	return wrong
}
