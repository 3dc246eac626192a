package language

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// ModulesIn returns the modules that an expression of a checked pipeline names
// itself, sorted; nil if the text is no expression.
func ModulesIn(source string) []string {
	if len(source) > MaxSourceBytes {
		return nil
	}

	r := &report{src: newSource("expression", normalize([]byte(source)))}
	if r.prescan(); len(r.list) > 0 {
		return nil
	}

	expr := parseExpression(r, hcl.InitialPos)
	if expr == nil || len(r.list) > 0 {
		return nil
	}

	var names []string
	for _, t := range hclsyntax.Variables(expr) {
		if kind, name := step(t, 1); t.RootName() == "module" && kind == stepName {
			names = append(names, name)
		}
	}

	slices.Sort(names)

	return slices.Compact(names)
}
