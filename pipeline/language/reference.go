package language

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// reference is one name that an expression reads from its scope.
type reference struct {
	name string
	at   hcl.Range
	// third is the name after that of a module, "" if there is none.
	third string
	// key is that of the one instance that depends_on names; "" if it names all
	// of them.
	key string
}

// references are the names that an expression reads from its scope.
type references struct {
	variables []reference
	allVars   bool
	locals    []reference
	allLocals bool
	modules   []reference
	// matrix are the axes of the module's own matrix, each the names of each.*.
	matrix    []reference
	allMatrix bool
	each      []reference
	allEach   bool
	runID     bool
	runNumber bool
	runTick   bool
	runStatus []reference // run.status, which only notifications know
	submitter bool
	git       []reference // the facts of git, which may be missing
	cache     []reference // cache.dir, which only the worker knows
	other     bool        // git, run.submitter, pipeline: known at submission
	unknown   bool        // a name that expressions do not see
}

// none reports an expression that needs no scope at all.
func (x *references) none() bool {
	return len(x.variables)+len(x.locals)+len(x.modules) == 0 && !x.instance() &&
		!x.allVars && !x.allLocals && !x.runID && !x.runNumber && !x.runTick && len(x.runStatus) == 0 && !x.other && !x.unknown
}

// instance reports an expression that names what differs between the instances
// of a module.
func (x *references) instance() bool {
	return len(x.matrix)+len(x.each) > 0 || x.allMatrix || x.allEach
}

// The names that expressions see, by their first part.
var (
	rootNames   = []string{"var", "local", "run", "git", "pipeline", "module", "matrix", "each", "cache"}
	eachNames   = []string{"key", "value"}
	runNames    = []string{"id", "number", "submitter", "tick"}
	gitNames    = []string{"sha", "branch", "tag", "dirty"}
	moduleNames = []string{"status", "result", "outputs", "exit_code", "duration", "cached"}
)

// scan finds the names of an expression. A name that expressions cannot see is
// recorded in r. The caller checks whether the variables, locals and modules
// exist.
func scan(r *report, expr hclsyntax.Expression, script bool) references {
	var x references
	switch expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		return x
	}
	for _, t := range hclsyntax.Variables(expr) {
		x.take(r, t, script)
	}
	checkFunctions(r, expr)
	return x
}

// take sorts one traversal in.
func (x *references) take(r *report, t hcl.Traversal, script bool) {
	root, at := t.RootName(), t.SourceRange()
	second, name := step(t, 1)
	switch root {
	case "var":
		x.allVars = x.allVars || second == stepNone
		if second == stepName {
			x.variables = append(x.variables, reference{name: name, at: at})
		}
	case "local":
		x.allLocals = x.allLocals || second == stepNone
		if second == stepName {
			x.locals = append(x.locals, reference{name: name, at: at})
		}
	case "module":
		if second != stepName {
			x.unknown = true
			r.add(at, "write module.NAME, or module[\"NAME\"]", "module needs the name of one")
			return
		}
		ref := reference{name: name, at: at}
		if third, attribute := step(t, 2); third == stepName {
			ref.third = attribute
		}
		x.modules = append(x.modules, ref)
	case "matrix":
		x.allMatrix = x.allMatrix || second != stepName
		if second == stepName {
			x.matrix = append(x.matrix, reference{name: name, at: at})
		}
	case "each":
		x.allEach = x.allEach || second != stepName
		if second == stepName {
			x.each = append(x.each, reference{name: name, at: at})
		}
		known(r, at, second, name, root, eachNames)
	case "run":
		x.runID = x.runID || second == stepNone || name == "id"
		x.runTick = x.runTick || second == stepNone || name == "tick"
		x.submitter = x.submitter || second == stepNone || name == "submitter"
		x.runNumber = x.runNumber || second == stepNone || name == "number"
		x.other = true
		if name == "status" {
			x.runStatus = append(x.runStatus, reference{name: name, at: at})
			return
		}
		known(r, at, second, name, root, runNames)
	case "git":
		x.other = true
		x.git = append(x.git, reference{name: strings.TrimRight("git."+name, "."), at: at})
		known(r, at, second, name, root, gitNames)
	case "cache":
		x.other = true
		x.cache = append(x.cache, reference{name: name, at: at})
		known(r, at, second, name, root, []string{"dir"})
	case "pipeline":
		x.other = true
		known(r, at, second, name, root, []string{"name"})
	default:
		x.unknown = true
		unknownRoot(r, at, root, name, script)
	}
}

func known(r *report, at hcl.Range, kind stepKind, name, root string, names []string) {
	if kind == stepName && !slices.Contains(names, name) {
		detail := didYouMean(name, names)
		if detail == "" {
			detail = root + " has " + strings.Join(names, ", ")
		}
		r.add(at, detail, "unknown name %s.%s", root, name)
	}
}

const shellHint = "a shell's ${…} must be written $${…} in HCL (and %{ as %%{)"

// unknownRoot records the first part of a name that expressions do not see; name is its
// second part, "" if there is none.
func unknownRoot(r *report, at hcl.Range, root, name string, script bool) {
	detail := didYouMean(root, rootNames)
	before := bytes.TrimRight(r.src.before(at.Start.Byte), " ~")
	switch {
	case root == "secret" || root == "secrets":
		name = cmp.Or(name, "NAME")
		detail = fmt.Sprintf("expressions see no secrets: write secrets = [%q] in the module; its script reads $%s", name, name)
	case foreignRoots[root] != "" && name != "":
		detail = foreignRoots[root]
	case root == "env" && name != "":
		detail = fmt.Sprintf("expressions see no environment: a script reads $%s; env_from = [%q] takes it from where the run is submitted", name, name)
	case script, bytes.HasSuffix(before, []byte("${")), bytes.HasSuffix(before, []byte("%{")):
		detail = strings.TrimSpace(detail + "\n" + shellHint)
	case detail == "":
		detail = "text goes in quotes; expressions see " + strings.Join(rootNames, ", ")
	}
	r.add(at, detail, "unknown variable %q", root)
}

type stepKind int

const (
	stepNone    stepKind = iota // the traversal ends before
	stepName                    // .name or ["name"]
	stepDynamic                 // anything else
)

// step returns the i-th part of a traversal.
func step(t hcl.Traversal, i int) (stepKind, string) {
	if i >= len(t) {
		return stepNone, ""
	}
	switch s := t[i].(type) {
	case hcl.TraverseAttr:
		return stepName, s.Name
	case hcl.TraverseIndex:
		if s.Key.IsKnown() && !s.Key.IsNull() && s.Key.Type() == cty.String {
			return stepName, s.Key.AsString()
		}
	}
	return stepDynamic, ""
}

// checkFunctions records the calls of an expression that cannot work.
func checkFunctions(r *report, expr hclsyntax.Expression) {
	hclsyntax.VisitAll(expr, func(node hclsyntax.Node) hcl.Diagnostics {
		call, ok := node.(*hclsyntax.FunctionCallExpr)
		if !ok {
			return nil
		}

		f, exists := functions[call.Name]
		switch {
		case exists:
			checkArguments(r, call, f)
		case r.full():
			r.more++
		case missingFunctions[call.Name] != "":
			r.add(call.NameRange, missingFunctions[call.Name], "there is no function %q", call.Name)
		default:
			r.add(call.NameRange, didYouMean(call.Name, functionNames()), "unknown function %q", call.Name)
		}

		return nil
	})
}

// checkArguments looks at the number of arguments of a call.
func checkArguments(r *report, call *hclsyntax.FunctionCallExpr, f function.Function) {
	want, n := len(f.Params()), len(call.Args)
	variadic := f.VarParam() != nil
	if call.ExpandFinal || n == want || (variadic && n > want) {
		return
	}

	names := make([]string, 0, want+1)
	for _, p := range f.Params() {
		names = append(names, p.Name)
	}

	if variadic {
		names = append(names, f.VarParam().Name+"…")
	}

	r.add(call.Range(), fmt.Sprintf("write %s(%s)", call.Name, strings.Join(names, ", ")), "function %s does not take %d arguments", call.Name, n)
}
