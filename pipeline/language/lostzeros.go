package language

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// textUse is an attribute whose value becomes text.
type textUse struct {
	name string
	expr hclsyntax.Expression
	// module is the index of its owner; -1 is none.
	module int
}

// numberUse is the use of an axis of a matrix in an attribute that is no text.
type numberUse struct {
	module int
	axis   string
}

// zeroEnds matches numbers that are written with a zero at the end of the fraction.
var zeroEnds = regexp.MustCompile(`^[0-9]+\.[0-9]*0$`)

// LostZeros warns of numbers that are written as versions are, such as 1.20, and lose
// their last zero where they become text: "1.2". A number that stays one is right.
func (f *File) LostZeros() Diagnostics {
	z := &zeroFinder{file: f, found: map[int]bool{}}
	for _, u := range f.texts {
		z.use = u
		z.text(u.expr, 0)
	}

	for _, v := range f.variables {
		z.use = textUse{name: fmt.Sprintf("default of variable %q", v.name), module: -1}
		z.typed(v.defaultExpr, v.typ)
	}

	// The values of an axis are part of the names of instances, unless they are there
	// for the sake of a number.
	for i, m := range f.modules {
		if m.instances == nil || m.instances.name != "matrix" {
			continue
		}
		for _, axis := range m.instances.axes {
			if !slices.Contains(f.numbers, numberUse{i, axis}) {
				z.use = textUse{name: "matrix." + axis, module: i}
				z.text(attributeOf(m.instances.expr, axis), 0)
			}
		}
	}

	order := func(d Diagnostic) int { return f.src.order(d.File) }
	slices.SortFunc(z.list, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return z.list
}

// takeText keeps an attribute whose value becomes text.
func (p *parser) takeText(name string, expr hclsyntax.Expression, owner int) {
	p.file.texts = append(p.file.texts, textUse{name, expr, owner})
}

// takeNumbers keeps the axes that an attribute names which is no text.
func (p *parser) takeNumbers(refs *references, owner int) {
	for _, x := range refs.matrix {
		p.file.numbers = append(p.file.numbers, numberUse{owner, x.name})
	}
}

// zeroFinder goes from what becomes text to the numbers that it is made of.
type zeroFinder struct {
	file *File
	use  textUse
	// found are the places of the numbers in list.
	found map[int]bool
	list  Diagnostics
}

// text looks at an expression whose value becomes text. chain is how many names lead to
// it.
func (z *zeroFinder) text(expr hclsyntax.Expression, chain int) {
	all := func(list ...hclsyntax.Expression) {
		for _, e := range list {
			z.text(e, chain)
		}
	}

	switch x := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		z.literal(x)
	case *hclsyntax.ParenthesesExpr:
		all(x.Expression)
	case *hclsyntax.TemplateWrapExpr:
		all(x.Wrapped)
	case *hclsyntax.TemplateExpr:
		all(x.Parts...)
	case *hclsyntax.ConditionalExpr:
		all(x.TrueResult, x.FalseResult)
	case *hclsyntax.TupleConsExpr, *hclsyntax.ObjectConsExpr:
		all(elementsIn(x)...)
	case *hclsyntax.FunctionCallExpr:
		if slices.Contains([]string{"join", "concat", "tostring"}, x.Name) {
			all(x.Args...)
		}
	case *hclsyntax.ScopeTraversalExpr:
		if chain < maxLocalChain {
			for _, e := range z.named(x.Traversal) {
				z.text(e, chain+1)
			}
		}
	}
}

// named are the expressions of the source that a name stands for.
func (z *zeroFinder) named(t hcl.Traversal) []hclsyntax.Expression {
	kind, name := step(t, 1)
	if kind != stepName {
		return nil
	}

	f := z.file
	var own *instances
	if z.use.module >= 0 {
		own = f.modules[z.use.module].instances
	}
	var from []hclsyntax.Expression
	switch root := t.RootName(); {
	case root == "var":
		if i, ok := f.variableIndex[name]; ok {
			from = append(from, f.variables[i].defaultExpr)
		}
	case root == "local":
		if i, ok := f.localIndex[name]; ok {
			from = append(from, f.locals[i].value.expr)
		}
	case root == "matrix" && own != nil:
		from = elementsIn(attributeOf(own.expr, name))
	case root == "each" && name == "value" && own != nil:
		from = elementsIn(own.expr)
	}

	for at := 2; at < len(t); at++ {
		kind, name := step(t, at)
		if kind != stepName {
			return nil
		}
		for i := range from {
			from[i] = attributeOf(from[i], name)
		}
	}
	return from
}

// typed looks at a value that is converted to a type.
func (z *zeroFinder) typed(expr hclsyntax.Expression, t cty.Type) {
	switch {
	case expr == nil:
	case t == cty.String:
		z.text(expr, 0)
	case t.IsListType(), t.IsSetType(), t.IsMapType():
		for _, e := range elementsIn(expr) {
			z.typed(e, t.ElementType())
		}
	case t.IsObjectType():
		for name, attribute := range t.AttributeTypes() {
			z.typed(attributeOf(expr, name), attribute)
		}
	case t.IsTupleType():
		for i, e := range elementsIn(expr) {
			if i < t.Length() {
				z.typed(e, t.TupleElementType(i))
			}
		}
	}
}

func (z *zeroFinder) literal(x *hclsyntax.LiteralValueExpr) {
	at := x.SrcRange.Start.Byte
	if x.Val.Type() != cty.Number || x.Val.IsNull() || z.found[at] {
		return
	}
	written := string(z.file.src.slice(x.SrcRange))
	if !zeroEnds.MatchString(written) {
		return
	}

	z.found[at] = true
	name := z.use.name
	if z.use.module >= 0 {
		name = fmt.Sprintf("module %q: %s", z.file.modules[z.use.module].static.Name, name)
	}
	becomes, _ := textOf(x.Val)
	z.list = append(z.list, z.file.src.diagnostic(x.SrcRange, fmt.Sprintf("%s: the number %s becomes the text %q", name, written, becomes), fmt.Sprintf("write %q", written)))
}

// elementsIn are the elements of a list or an object that is written out.
func elementsIn(expr hclsyntax.Expression) []hclsyntax.Expression {
	switch x := expr.(type) {
	case *hclsyntax.TupleConsExpr:
		return slices.Clone(x.Exprs)
	case *hclsyntax.ObjectConsExpr:
		list := make([]hclsyntax.Expression, len(x.Items))
		for i := range x.Items {
			list[i] = x.Items[i].ValueExpr
		}
		return list
	}
	return nil
}

// attributeOf is an attribute of an object that is written out; nil if it has none of that
// name.
func attributeOf(expr hclsyntax.Expression, name string) hclsyntax.Expression {
	if object, ok := expr.(*hclsyntax.ObjectConsExpr); ok {
		for _, item := range object.Items {
			if key, written := literalKey(item.KeyExpr); written && key == name {
				return item.ValueExpr
			}
		}
	}
	return nil
}
