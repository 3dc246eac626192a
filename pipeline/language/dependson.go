package language

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// indexKey is the key of an instance in module.NAME["KEY"] or module.NAME[0];
// "" if there is none.
func indexKey(t hcl.Traverser) string {
	index, ok := t.(hcl.TraverseIndex)
	if !ok {
		return ""
	}
	text, bad := textOf(index.Key)
	if bad != nil {
		return ""
	}
	return text
}

// digitName is a module that cannot be named by an identifier.
var digitName = regexp.MustCompile(`^module\.[0-9]`)

// dependsOn reads a list of module.NAME or "NAME", or of instances:
// module.NAME["KEY"] or "NAME[KEY]".
func (p *parser) dependsOn(a *hclsyntax.Attribute) (out []reference) {
	rule := fmt.Sprintf("write %s = [module.NAME, …]", a.Name)
	expr := a.Expr
	list, ok := expr.(*hclsyntax.TupleConsExpr)
	if !ok {
		p.absent(expr.Range(), rule, "%s is a list of modules that is written out", a.Name)
		return nil
	}

	for _, e := range list.Exprs {
		at := e.Range()
		rule := rule
		if digitName.Match(p.src.slice(at)) {
			rule = `a name that begins with a digit is written module["1-build"]`
		}
		if t, ok := e.(*hclsyntax.ScopeTraversalExpr); ok {
			kind, name := step(t.Traversal, 1)
			switch root := t.Traversal.RootName(); {
			case root == "module" && kind == stepName && len(t.Traversal) == 2:
				out = append(out, reference{name: name, at: at})
			case root == "module" && kind == stepName && len(t.Traversal) == 3 && indexKey(t.Traversal[2]) != "":
				out = append(out, reference{name: name, at: at, key: indexKey(t.Traversal[2])})
			case root == "module" && kind == stepName:
				p.add(at, fmt.Sprintf("write module.%s", name), "%s names modules, not what they leave", a.Name)
			case len(t.Traversal) == 1:
				p.add(at, fmt.Sprintf("write module.%s", root), "%s[…]: %q is no module", a.Name, root)
			default:
				p.add(at, rule, "%s names modules only", a.Name)
			}
			continue
		}
		if constantExpr(e) {
			if v, diags := value(e, nil); !diags.HasErrors() && v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
				name, key := v.AsString(), ""
				if block, rest, ok := strings.Cut(name, "["); ok && strings.HasSuffix(rest, "]") {
					name, key = block, strings.TrimSuffix(rest, "]")
				}
				out = append(out, reference{name: name, at: at, key: key})
				continue
			}
		}
		p.absent(at, rule, "%s names modules only, written out", a.Name)
	}

	return out
}
