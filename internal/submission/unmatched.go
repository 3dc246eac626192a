package submission

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/storage/tree"
	"github.com/pipelined/pipelined/storage/workspace"
)

// UnmatchedInputs lists the directory of the workspace, without reading a file, and
// warns of inputs of def that match nothing in it. It is empty if no module names inputs.
func (j *Job) UnmatchedInputs(ctx context.Context) (language.Diagnostics, error) {
	named := func(m pipeline.Module) bool { return len(m.Inputs) > 0 }
	if !slices.ContainsFunc(j.definition.Modules, named) {
		return nil, nil
	}

	rules := j.source.File.Workspace()
	files, err := workspace.List(ctx, filepath.Join(j.source.dir, rules.Root),
		workspace.Options{Exclude: rules.Exclude, Private: newPrivate(j.options.Private).holds})
	if err != nil {
		return nil, err
	}

	return unmatchedInputs(j.source.name, j.definition, files), nil
}

// unmatchedInputs warns of each glob of inputs that matches no file of the workspace, and
// no output that a module before could make. Instances of one block say the same once.
func unmatchedInputs(file string, def *pipeline.Pipeline, files tree.Tree) language.Diagnostics {
	index := make(map[string]*pipeline.Module, len(def.Modules))
	for i := range def.Modules {
		index[def.Modules[i].Name] = &def.Modules[i]
	}

	var list language.Diagnostics
	known := map[string]bool{} // whether a glob matches
	for i := range def.Modules {
		m := &def.Modules[i]
		for n, glob := range m.Inputs {
			if _, negated := tree.Negated(glob); negated {
				continue
			}
			if _, asked := known[glob]; !asked {
				f := tree.NewFilter([]string{glob})
				known[glob] = slices.ContainsFunc(files, func(e pipeline.TreeEntry) bool { return f.Matches(e.Path) })
			}
			if known[glob] || m.Skip != "" || madeBefore(index, m, glob) {
				continue
			}

			d := language.Diagnostic{File: file, Line: m.Line,
				Summary: fmt.Sprintf("module %q: inputs[%d]", cmp.Or(m.Of, m.Name), n), Detail: fmt.Sprintf("%q matches no file of the workspace", glob)}
			if !slices.Contains(list, d) {
				list = append(list, d)
			}
		}
	}

	return list
}

// madeBefore reports whether an output of a module that m depends on may match a glob.
func madeBefore(index map[string]*pipeline.Module, m *pipeline.Module, glob string) bool {
	seen := map[string]bool{}
	var before func(*pipeline.Module) bool
	before = func(m *pipeline.Module) bool {
		for _, name := range m.DependsOn {
			up := index[name]
			if up == nil || seen[name] {
				continue
			}
			seen[name] = true
			overlaps := func(output string) bool {
				_, negated := tree.Negated(output)
				return !negated && mayOverlap(glob, output)
			}
			if slices.ContainsFunc(up.Outputs, overlaps) || slices.ContainsFunc(up.OutputsOptional, overlaps) || before(up) {
				return true
			}
		}
		return false
	}
	return before(m)
}

// mayOverlap reports whether two globs can match the same path, or one a path below what
// the other matches. Of two names with wildcards it is taken as possible.
func mayOverlap(a, b string) bool {
	if strings.Contains(a+b, "{") {
		return true // a brace may hold a "/"
	}

	as, bs := strings.Split(tree.CleanGlob(a), "/"), strings.Split(tree.CleanGlob(b), "/")
	for i := range min(len(as), len(bs)) {
		x, y := as[i], bs[i]
		if x == "**" || y == "**" {
			return true
		}
		wildX, wildY := strings.ContainsAny(x, `*?[\`), strings.ContainsAny(y, `*?[\`)
		switch {
		case wildX && wildY:
		case wildX && !doublestar.MatchUnvalidated(x, y), !wildX && !doublestar.MatchUnvalidated(y, x):
			return false
		}
	}
	return true
}
