package language

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline/mask"
)

// reachesModule reports whether a module sees what an attribute comes to.
func reachesModule(attribute string) bool {
	return attribute == "command" || attribute == "script" || attribute == "env" || strings.HasPrefix(attribute, "env.")
}

// derive notes what an expression makes of sensitive variables: a part of one, or
// what a function returns. Masking finds the values of the variables themselves, and
// cannot know these. Of a text in which such values stand it notes the values, not
// the text; of a condition neither the question nor a result without them.
func (s *deferredScope) derive(expr hclsyntax.Expression, ctx *hcl.EvalContext) {
	if !s.namesSensitive(expr) {
		return
	}
	parts := func(list ...hclsyntax.Expression) {
		for _, part := range list {
			s.derive(part, ctx)
		}
	}

	switch x := expr.(type) {
	case *hclsyntax.TemplateExpr:
		parts(x.Parts...)
		return
	case *hclsyntax.TemplateWrapExpr:
		parts(x.Wrapped)
		return
	case *hclsyntax.ParenthesesExpr:
		parts(x.Expression)
		return
	case *hclsyntax.TupleConsExpr:
		parts(x.Exprs...)
		return
	case *hclsyntax.ObjectConsExpr:
		for _, item := range x.Items {
			parts(item.ValueExpr)
		}
		return
	case *hclsyntax.ConditionalExpr:
		parts(x.TrueResult, x.FalseResult)
		return
	case *hclsyntax.FunctionCallExpr:
		// join(" ", [...]) shows its arguments as they are; jsondecode(...).name does
		// not show the whole object.
		for _, arg := range x.Args {
			if v, diags := value(arg, ctx); !diags.HasErrors() && !v.Type().IsObjectType() && !v.Type().IsMapType() {
				parts(arg)
			}
		}
	}

	// What cannot be evaluated alone has no value that could show.
	if v, diags := value(expr, ctx); !diags.HasErrors() {
		s.derived = textsOf(v, s.derived)
	}
}

// namesSensitive reports whether an expression names a sensitive variable, itself or
// through a local.
func (s *deferredScope) namesSensitive(expr hclsyntax.Expression) bool {
	scope := &s.pipeline.Scope
	return slices.ContainsFunc(expr.Variables(), func(t hcl.Traversal) bool {
		root := t.RootName()
		if root != "var" && root != "local" {
			return false
		}
		if len(t) < 2 {
			return true
		}
		name := ""
		switch step := t[1].(type) {
		case hcl.TraverseAttr:
			name = step.Name
		case hcl.TraverseIndex:
			if step.Key.Type() != cty.String {
				return true
			}
			name = step.Key.AsString()
		default:
			return true
		}
		if root == "var" {
			return slices.Contains(scope.Sensitive, name)
		}
		return scope.DeferredLocals[name].Sensitive
	})
}

// derivedValues lists what was noted, without what masking finds by SensitiveValues,
// and what is too short to be masked.
func (s *deferredScope) derivedValues() []string {
	if len(s.derived) == 0 {
		return nil
	}
	known := SensitiveValues(&s.pipeline.Scope)
	slices.Sort(s.derived)
	return slices.DeleteFunc(slices.Compact(s.derived), func(v string) bool {
		return len(v) < mask.MinLength || slices.ContainsFunc(known, func(k string) bool {
			return len(k) >= mask.MinLength && strings.Contains(v, k)
		})
	})
}
