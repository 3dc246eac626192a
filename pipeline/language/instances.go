package language

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxInstances bounds what one matrix or for_each makes.
	maxInstances = 4096
	// maxKey bounds the key of an instance, in bytes.
	maxKey = 200
)

// instances is the matrix or the for_each of a module.
type instances struct {
	// name is "matrix" or "for_each".
	name string
	at   hcl.Range
	expr hclsyntax.Expression
	// axes are the names of a matrix in the order of the source, nil if it is
	// not written out: then they are in alphabetical order.
	axes []string
	// each is set for a for_each: the attribute, if it may wait for results.
	each *deferrable
}

// instance is one of what a module is run for.
type instance struct {
	key    string
	matrix map[string]*axisValue
	each   map[string]cty.Value
}

// axisValue is a value of an axis of a matrix. All instances that have it share it:
// the texts of numbers are expensive to make.
type axisValue struct {
	value cty.Value
	// encoded is what the pipeline keeps; "" if that was not made yet.
	encoded string
}

// scope is what expressions of an instance see as matrix.
func (x *instance) scope() cty.Value {
	values := make(map[string]cty.Value, len(x.matrix))
	for name, v := range x.matrix {
		values[name] = v.value
	}

	return cty.ObjectVal(values)
}

// expansion decodes matrix or for_each.
func (p *parser) expansion(m *module, a *hclsyntax.Attribute, index int) {
	if m.instances != nil {
		p.add(a.NameRange, "keep one of them", "module %q has both matrix and for_each", m.static.Name)
		return
	}

	x := &instances{name: a.Name, at: a.NameRange, expr: a.Expr}
	m.instances = x

	if a.Name == "for_each" {
		var constant bool
		x.each, constant = p.deferredUse("for_each", a.Expr, false, index)
		x.each.text = p.deferredExpr(a.Expr)
		if constant { // found with the other mistakes of the file
			if v, ok := literal(p.report, a.Expr); ok {
				eachOf(p.report, a.Expr, v)
			}
		}
		return
	}

	refs := scan(p.report, a.Expr, false)
	if !refs.none() || Expensive(a.Expr) {
		p.use(use{name: "matrix", expr: a.Expr, refs: &refs, mode: useSubmit, module: index, local: -1})
	} else {
		defer func() {
			if v, ok := literal(p.report, a.Expr); ok {
				matrixOf(p.report, x, v)
			}
		}()
	}

	object, ok := a.Expr.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return
	}

	for _, item := range object.Items {
		name, written := literalKey(item.KeyExpr)
		if !written {
			x.axes = nil
			return
		}

		if bad := checkIdentifier(name); bad != nil {
			p.add(item.KeyExpr.Range(), bad.detail, "matrix: %s", bad.summary)
			continue
		}

		if slices.Contains(x.axes, name) {
			p.add(item.KeyExpr.Range(), "", "second %q in matrix", name)
			continue
		}

		x.axes = append(x.axes, name)
	}
}

// dynamic reports whether the instances are known only when results are.
func (m *module) dynamic(runIDKnown bool) bool {
	return m.instances != nil && m.instances.each != nil && m.instances.each.unknown(runIDKnown)
}

// resolveInstance records names of matrix and each that the owner of an
// expression does not have.
func (k *linker) resolveInstance(u *use) {
	r := u.refs
	if !r.instance() {
		return
	}

	at := u.expr.Range()
	if len(r.matrix) > 0 {
		at = r.matrix[0].at
	} else if len(r.each) > 0 {
		at = r.each[0].at
	}

	if u.local >= 0 || u.module < 0 || u.mode == useVariables {
		k.add(at, "use them in the modules themselves", "%s is the same for all modules: matrix and each are of one", u.name)
		return
	}

	m := k.file.modules[u.module]
	has := ""
	if m.instances != nil {
		has = m.instances.name
	}

	if has != "" && m.instances.expr == u.expr {
		k.add(at, "", "%s cannot name itself", has)
		return
	}

	if (len(r.matrix) > 0 || r.allMatrix) && has != "matrix" {
		k.add(at, "write matrix = { NAME = [ … ] }", "module %q has no matrix", m.static.Name)
		return
	}

	if (len(r.each) > 0 || r.allEach) && has != "for_each" {
		k.add(at, "write for_each = [ … ]", "module %q has no for_each", m.static.Name)
		return
	}

	for _, x := range r.matrix {
		if axes := m.instances.axes; axes != nil && !slices.Contains(axes, x.name) {
			detail := didYouMean(x.name, axes)
			if detail == "" {
				detail = "the matrix has " + strings.Join(axes, ", ")
			}
			k.add(x.at, detail, "unknown name matrix.%s", x.name)
		}
	}
}

// expand returns the instances of a module that are known at submission: one
// nameless instance for a module that is run once. It returns false if a
// mistake was recorded.
func (c *compilation) expand(m *module) ([]instance, bool) {
	x := m.instances
	if x == nil || m.dynamic(c.in.RunID != "") {
		return []instance{{}}, true
	}

	v, ok := c.eval(x.expr)
	if !ok || !v.IsKnown() {
		return nil, false
	}

	before := len(c.list)
	var list []instance
	if x.each != nil {
		list = eachOf(c.report, x.expr, v)
	} else {
		list = matrixOf(c.report, x, v)
	}

	return list, len(c.list) == before
}

// checkMatrix reports whether a value may be a matrix.
func checkMatrix(r *report, expr hclsyntax.Expression, v cty.Value) bool {
	ok := !v.IsNull() && isObject(v.Type())
	if !ok {
		r.add(expr.Range(), "write matrix = { NAME = [ … ] }", "matrix: expected an object of lists, got %s", friendly(v))
	}
	return ok
}

// checkEach reports whether a value may be a for_each.
func checkEach(r *report, expr hclsyntax.Expression, v cty.Value) bool {
	ok := !v.IsNull() && (isObject(v.Type()) || isList(v.Type()))
	if !ok {
		r.add(expr.Range(), `write for_each = ["a", "b"] or for_each = { NAME = value }`, "for_each: expected a list or an object, got %s", friendly(v))
	}
	return ok
}

// matrixOf returns every combination of a matrix; the last axis varies fastest.
func matrixOf(r *report, x *instances, v cty.Value) []instance {
	at := x.expr.Range()
	if !checkMatrix(r, x.expr, v) {
		return nil
	}

	values := v.AsValueMap()
	axes := x.axes
	if axes == nil {
		axes = slices.Sorted(maps.Keys(values))
	}

	if len(axes) == 0 {
		return nil
	}

	list := []instance{{matrix: map[string]*axisValue{}}}
	for _, axis := range axes {
		elements, ok := elementsOf(r, "matrix."+axis, x.expr, values[axis])
		if !ok {
			return nil
		}

		if len(list)*len(elements) > maxInstances {
			r.add(at, "", "the matrix makes more than %d instances", maxInstances)
			return nil
		}

		if len(list) == 0 {
			continue // an axis without values makes no instances
		}

		keys, shared := make([]string, len(elements)), make([]axisValue, len(elements))
		for i, e := range elements {
			text, bad := keyOf(e)
			if bad != nil {
				r.add(at, bad.detail, "matrix.%s: %s", axis, bad.summary)
				return nil
			}
			keys[i], shared[i].value = text, e
		}

		next := make([]instance, 0, len(list)*len(elements))
		for _, base := range list {
			for i, key := range keys {
				one := instance{key: key, matrix: maps.Clone(base.matrix)}
				if base.key != "" {
					one.key = base.key + "," + key
				}
				one.matrix[axis] = &shared[i]
				next = append(next, one)
			}
		}

		list = next
	}

	return distinct(r, "matrix", at, list)
}

// eachOf returns the instances of a for_each.
func eachOf(r *report, expr hclsyntax.Expression, v cty.Value) []instance {
	at := expr.Range()
	if !checkEach(r, expr, v) {
		return nil
	}

	if v.LengthInt() > maxInstances {
		r.add(at, "", "for_each makes more than %d instances", maxInstances)
		return nil
	}

	list := make([]instance, 0, v.LengthInt())
	index := 0
	for it := v.ElementIterator(); it.Next(); index++ {
		key, element := it.Element()
		if v.Type().IsSetType() {
			key = cty.NumberIntVal(int64(index))
		}
		text, bad := keyOf(key)
		if bad != nil {
			r.add(at, bad.detail, "for_each: %s", bad.summary)
			return nil
		}
		list = append(list, instance{key: text, each: map[string]cty.Value{"key": key, "value": element}})
	}

	return distinct(r, "for_each", at, list)
}

// keyOf is the text of a value in the name of an instance.
func keyOf(v cty.Value) (string, *problem) {
	text, bad := textOf(v)
	switch {
	case bad != nil:
		return "", bad
	case !v.IsKnown():
		return "", wrong("", "value is not known")
	}
	return text, keyText(text)
}

func keyText(text string) *problem {
	const rule = "it becomes part of a name: a short text of printable characters without [ and ]"
	switch {
	case text == "":
		return wrong(rule, "empty text")
	case len(text) > maxKey:
		return wrong(rule, "text of more than %d bytes", maxKey)
	case strings.ContainsAny(text, "[]") || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return wrong(rule, "invalid value %s", quote(text))
	}
	return nil
}

func distinct(r *report, what string, at hcl.Range, list []instance) []instance {
	seen := make(map[string]bool, len(list))
	for _, x := range list {
		if len(x.key) > maxKey {
			r.add(at, fmt.Sprintf("the names of all values together may take %d bytes", maxKey), "%s: key %s is too long", what, quote(x.key[:40]))
			return nil
		}
		if seen[x.key] {
			r.add(at, "each instance has a name of its own", "%s gives two instances the key %s", what, quote(x.key))
			return nil
		}
		seen[x.key] = true
	}

	return list
}

// name is what an instance of a module is called.
func (x *instance) name(block string) string {
	if x.key == "" {
		return block
	}
	return pipeline.InstanceName(block, x.key)
}

// encodeInstance keeps the values of an instance with its module.
func (c *compilation) encodeInstance(out *pipeline.Module, x *instance, at hcl.Range) {
	keep := func(to *map[string]string, name, text string) {
		if *to == nil {
			*to = map[string]string{}
		}
		(*to)[name] = text
		c.spend(2*overhead+len(name)+len(text), at)
	}

	for name, v := range x.matrix {
		if v.encoded == "" {
			v.encoded = c.encode(v.value, at)
		}
		keep(&out.Matrix, name, v.encoded)
	}

	for name, v := range x.each {
		keep(&out.Each, name, c.encode(v, at))
	}
}
