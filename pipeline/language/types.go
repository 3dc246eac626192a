package language

import (
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// instanceTypes records each matrix and for_each whose type is wrong whatever values
// the variables have. Those that are constants were read by the parser.
func (k *linker) instanceTypes() {
	for _, m := range k.file.modules {
		x := m.instances
		if x == nil || constantExpr(x.expr) {
			continue
		}

		t := k.file.typeOf(x.expr, 0)
		switch {
		case t == cty.DynamicPseudoType:
		case x.each != nil:
			checkEach(k.report, x.expr, cty.UnknownVal(t))
		case checkMatrix(k.report, x.expr, cty.UnknownVal(t)):
			k.axisTypes(x)
		}
	}
}

// axisTypes records the axes of a matrix that are no lists.
func (k *linker) axisTypes(x *instances) {
	object, ok := x.expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return
	}
	for _, item := range object.Items {
		name, written := literalKey(item.KeyExpr)
		if t := k.file.typeOf(item.ValueExpr, 0); written && t != cty.DynamicPseudoType && !isList(t) {
			k.add(item.ValueExpr.Range(), "write matrix = { NAME = [ … ] }", "matrix.%s: expected a list, got %s", name, friendly(cty.UnknownVal(t)))
		}
	}
}

func isList(t cty.Type) bool { return t.IsListType() || t.IsTupleType() || t.IsSetType() }

func isObject(t cty.Type) bool { return t.IsObjectType() || t.IsMapType() }

// typeOf is the type of an expression as far as the source tells it, without the types
// of elements: dynamic if it does not. chain is how many locals lead to it.
func (f *File) typeOf(expr hclsyntax.Expression, chain int) cty.Type {
	switch e := expr.(type) {
	case *hclsyntax.ParenthesesExpr:
		return f.typeOf(e.Expression, chain)
	case *hclsyntax.TemplateWrapExpr:
		return f.typeOf(e.Wrapped, chain)
	case *hclsyntax.LiteralValueExpr:
		return e.Val.Type()
	case *hclsyntax.TemplateExpr:
		return cty.String
	case *hclsyntax.BinaryOpExpr:
		return e.Op.Type
	case *hclsyntax.UnaryOpExpr:
		return e.Op.Type
	case *hclsyntax.TupleConsExpr:
		return cty.EmptyTuple
	case *hclsyntax.ObjectConsExpr:
		return cty.EmptyObject
	case *hclsyntax.ScopeTraversalExpr:
		return f.typeNamed(e, chain)
	}
	return cty.DynamicPseudoType
}

// typeNamed is the type of a variable, an attribute of one, or a local.
func (f *File) typeNamed(e *hclsyntax.ScopeTraversalExpr, chain int) cty.Type {
	kind, name := step(e.Traversal, 1)
	if kind != stepName {
		return cty.DynamicPseudoType
	}

	switch e.Traversal.RootName() {
	case "local":
		if i, ok := f.localIndex[name]; ok && len(e.Traversal) == 2 && chain < maxLocalChain {
			return f.typeOf(f.locals[i].value.expr, chain+1)
		}
	case "var":
		i, ok := f.variableIndex[name]
		if !ok {
			return cty.DynamicPseudoType
		}
		t := f.variables[i].typ
		for at := 2; at < len(e.Traversal); at++ {
			switch kind, name := step(e.Traversal, at); {
			case t.IsMapType() && kind == stepName:
				t = t.ElementType()
			case t.IsObjectType() && kind == stepName && t.HasAttribute(name):
				t = t.AttributeType(name)
			default:
				return cty.DynamicPseudoType
			}
		}
		return t
	}
	return cty.DynamicPseudoType
}
