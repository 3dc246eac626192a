package language

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Expensive reports whether an expression is more than literals, references,
// templates, and lists and objects of these. The cost of such an expression is
// known beforehand from the sizes of what it names; that of any other is not,
// and it is evaluated only behind an Evaluator.
func Expensive(expr hcl.Expression) bool {
	switch e := expr.(type) {
	case *hclsyntax.LiteralValueExpr, *hclsyntax.ScopeTraversalExpr:
		return false
	case *hclsyntax.ParenthesesExpr:
		return Expensive(e.Expression)
	case *hclsyntax.TemplateWrapExpr:
		return Expensive(e.Wrapped)
	case *hclsyntax.TemplateExpr:
		return anyExpensive(e.Parts)
	case *hclsyntax.TupleConsExpr:
		return anyExpensive(e.Exprs)
	case *hclsyntax.ObjectConsExpr:
		for _, item := range e.Items {
			if Expensive(item.KeyExpr) || Expensive(item.ValueExpr) {
				return true
			}
		}
		return false
	case *hclsyntax.ObjectConsKeyExpr:
		return Expensive(e.Wrapped)
	case *hclsyntax.RelativeTraversalExpr:
		return Expensive(e.Source)
	case *hclsyntax.IndexExpr:
		return Expensive(e.Collection) || Expensive(e.Key)
	case *hclsyntax.UnaryOpExpr: // -1
		_, literal := e.Val.(*hclsyntax.LiteralValueExpr)
		return !literal
	}

	return true
}

func anyExpensive(list []hclsyntax.Expression) bool {
	for _, e := range list {
		if Expensive(e) {
			return true
		}
	}
	return false
}

// The budgets of evaluation.
const (
	// maxValue is the most one expression's value may take, in bytes as size
	// counts them.
	maxValue = 1 << 20
	// maxTotal is the most all the values of a pipeline may take.
	maxTotal = 8 << 20
)

// estimate bounds the size of the value of an expression that is not
// expensive, without computing it: what templates and lists repeat is counted
// as often as it is named. It stops once it is beyond limit.
func estimate(expr hclsyntax.Expression, ctx *hcl.EvalContext, limit int) int {
	total := 0
	add := func(e hclsyntax.Expression) {
		if total <= limit {
			total += estimate(e, ctx, limit-total)
		}
	}

	switch e := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		return size(e.Val, limit)
	case *hclsyntax.ScopeTraversalExpr:
		v, diags := e.Traversal.TraverseAbs(ctx)
		if diags.HasErrors() {
			return 0 // the evaluation reports its mistakes
		}
		return size(v, limit)
	case *hclsyntax.ParenthesesExpr:
		return estimate(e.Expression, ctx, limit)
	case *hclsyntax.TemplateWrapExpr:
		return estimate(e.Wrapped, ctx, limit)
	case *hclsyntax.TemplateExpr:
		for _, part := range e.Parts {
			add(part)
		}
	case *hclsyntax.TupleConsExpr:
		total = overhead
		for _, x := range e.Exprs {
			add(x)
		}
	case *hclsyntax.ObjectConsExpr:
		total = overhead
		for _, item := range e.Items {
			add(item.KeyExpr)
			add(item.ValueExpr)
		}
	case *hclsyntax.ObjectConsKeyExpr:
		if hcl.ExprAsKeyword(e.Wrapped) != "" && !e.ForceNonLiteral {
			return overhead
		}
		return estimate(e.Wrapped, ctx, limit)
	case *hclsyntax.RelativeTraversalExpr:
		return estimate(e.Source, ctx, limit)
	case *hclsyntax.IndexExpr:
		add(e.Collection)
		add(e.Key)
	case *hclsyntax.UnaryOpExpr:
		return estimate(e.Val, ctx, limit)
	}

	return total
}

// overhead is what a value counts besides its content.
const overhead = 16

// maxNesting is the maximum depth of nested lists and objects in a value.
const maxNesting = 128

// maxExponentBits bounds numbers, in either direction; 10^1233 is the largest.
const maxExponentBits = 4096

// size counts the bytes of a value as text would show it, elements as often as
// they occur. It stops once it is beyond limit; a value that is nested too deep
// is beyond it.
func size(v cty.Value, limit int) int { return sizeAt(v, limit, 0) }

func sizeAt(v cty.Value, limit, depth int) int {
	if v == cty.NilVal || !v.IsKnown() || v.IsNull() {
		return overhead
	}

	if depth > maxNesting {
		return limit + overhead
	}

	switch t := v.Type(); {
	case t == cty.String:
		return overhead + len(v.AsString())
	case t == cty.Number:
		// As text a number has a digit for each three bits of its exponent, of
		// which there may be two thousand million, and making them is slow.
		f := v.AsBigFloat()
		exponent := f.MantExp(nil)
		if f.IsInf() || max(exponent, -exponent) > maxExponentBits {
			return limit + overhead
		}
		return overhead + max(exponent, -exponent)/3
	case t.IsCollectionType() || t.IsTupleType() || t.IsObjectType():
		total := overhead
		for it := v.ElementIterator(); it.Next() && total <= limit; {
			key, element := it.Element()
			if key.Type() == cty.String {
				total += len(key.AsString())
			}
			total += sizeAt(element, limit-total, depth+1)
		}
		return total
	}

	return overhead
}
