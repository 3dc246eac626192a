package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// pkg is the part of the output of `go list -json` that the rules need.
type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	GoFiles    []string
}

// load lists the packages under dir for a platform, also the broken ones.
func load(dir, goos string) ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	var errs bytes.Buffer
	cmd.Stderr = &errs

	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w\n%s", dir, err, errs.Bytes())
	}

	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the answer of go list: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}

// ruleOf finds the rule that applies to a package of this module: the one with
// the longest path that contains it.
func ruleOf(importPath string) (rule, bool) {
	rel := strings.TrimPrefix(importPath, module+"/")
	var best rule
	for _, r := range rules {
		if within(rel, r.path) && len(r.path) > len(best.path) {
			best = r
		}
	}

	return best, best.path != ""
}

// within reports whether path is root or below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// checkImports returns a sentence for every import among pkgs that is not allowed.
func checkImports(pkgs []pkg) []string {
	var wrong []string
	for _, p := range pkgs {
		r, ok := ruleOf(p.ImportPath)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s has no rule: add a row to test/arch/packages.go", p.ImportPath))
			continue
		}

		for _, imp := range p.Imports {
			if why := checkImport(r, imp); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", p.ImportPath, imp, why))
			}
		}
	}

	return wrong
}

// checkImport returns why a package of r may not import imp, "" if it may.
func checkImport(r rule, imp string) string {
	if imp == "C" {
		return "the project is built without cgo"
	}

	if within(imp, module) {
		to, ok := ruleOf(imp)
		switch {
		case !ok:
			return "the imported package has no rule"
		case to.path == r.path, slices.Contains(r.may, to.path), slices.Contains(r.may, "*"):
			return ""
		case len(r.may) == 0:
			return fmt.Sprintf("room %s may import no other package of the project", r.path)
		}

		return fmt.Sprintf("%s may import only %s", r.path, strings.Join(r.may, ", "))
	}

	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		for _, f := range forbidden[r.path] {
			if within(imp, f) {
				return fmt.Sprintf("%s may not import it: it does no I/O and uses no clock, no randomness and no other goroutine", r.path)
			}
		}
		return ""
	}

	if r.stdOnly {
		return fmt.Sprintf("%s may import the standard library only", r.path)
	}

	for _, l := range limited {
		// "raft" must not match "raft-boltdb", which has a row of its own.
		if within(imp, l.prefix) {
			if !slices.Contains(l.packages, r.path) {
				return fmt.Sprintf("only %s may import it", strings.Join(l.packages, ", "))
			}
			return ""
		}
	}

	return ""
}
