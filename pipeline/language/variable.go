package language

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/pipelined/pipelined/pipeline/mask"
)

// variable is one variable block.
type variable struct {
	name        string
	at          hcl.Range
	description string
	typ         cty.Type
	typeGiven   bool
	defaults    *typeexpr.Defaults
	value       cty.Value // the default; NilVal if there is none
	defaultExpr hclsyntax.Expression
	sensitive   bool
	validations []validation
}

type validation struct {
	condition, message hclsyntax.Expression
}

// VariableInfo describes a variable that a pipeline declares.
type VariableInfo struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Description string `json:"description,omitempty"`
	// Default is its value if none is given, in the form in which it would be
	// given; nil if a value is required.
	Default   *string `json:"default,omitempty"`
	Required  bool    `json:"required,omitempty"`
	Sensitive bool    `json:"sensitive,omitempty"`
}

// Variables gives the variables in the order of the source.
func (f *File) Variables() []VariableInfo {
	list := make([]VariableInfo, len(f.variables))
	for i, v := range f.variables {
		list[i] = VariableInfo{Name: v.name, Type: typeexpr.TypeString(v.typ), Description: v.description,
			Required: v.value == cty.NilVal, Sensitive: v.sensitive}
		if v.value != cty.NilVal {
			text := valueText(v.value)
			if v.sensitive {
				text = mask.Mark
			}
			list[i].Default = &text
		}
	}

	return list
}

var (
	variableNames   = []string{"type", "default", "description", "sensitive", "validation"}
	validationNames = []string{"condition", "error_message"}
)

// variable decodes a variable block.
func (p *parser) variable(b *hclsyntax.Block) {
	f := p.file
	name, at, ok := p.label(b, "variable", checkIdentifier)
	v := &variable{name: name, at: at, typ: cty.DynamicPseudoType, value: cty.NilVal}
	if ok {
		if first, twice := f.variableIndex[name]; twice {
			p.add(at, "the first is at "+p.positionText(f.variables[first].at), "second variable %q", name)
		} else {
			f.variableIndex[name] = len(f.variables)
		}
	}

	f.variables = append(f.variables, v)

	var def *hclsyntax.Attribute
	for _, a := range attributes(b.Body) {
		switch a.Name {
		case "type":
			p.variableType(v, a.Expr)
		case "default":
			def = a
		case "description":
			s := spec[variable]{kind: kindText, check: checkText, set: func(v *variable, r reading) { v.description = r.text }}
			if x, ok := p.constant("description", a.Expr); ok {
				if r, ok := s.read(p.report, "description", a.Expr, x); ok {
					s.set(v, r)
				}
			}
		case "sensitive":
			if x, ok := p.constant("sensitive", a.Expr); ok && x.IsKnown() {
				if x.IsNull() || x.Type() != cty.Bool {
					p.add(a.Expr.Range(), "", "sensitive: expected true or false, got %s", friendly(x))
				} else {
					v.sensitive = x.True()
				}
			}
		default:
			p.unknown("attribute", a.Name, a.NameRange, "variable", variableNames)
		}
	}

	if def != nil {
		p.variableDefault(v, def.Expr)
	} else if !v.typeGiven {
		v.typ = cty.String
	}

	for _, inner := range b.Body.Blocks {
		if inner.Type != "validation" {
			p.unknown("block", inner.Type, inner.TypeRange, "variable", variableNames)
			continue
		}
		p.noLabels(inner)
		p.validation(v, inner)
	}
}

func (p *parser) variableType(v *variable, expr hclsyntax.Expression) {
	v.typeGiven = true
	t, defaults, diags := typeexpr.TypeConstraintWithDefaults(expr)
	if diags.HasErrors() {
		p.addHCL(diags, func(*hcl.Diagnostic) string {
			return "a type is string, number, bool, any, list(T), set(T), map(T), tuple([T, …]) or object({ name = T })"
		})
		return
	}
	v.typ, v.defaults = t, defaults
}

// variableDefault reads the default. If no type is set, a text, number or bool
// sets it, as the variable can then be given as text.
func (p *parser) variableDefault(v *variable, expr hclsyntax.Expression) {
	v.defaultExpr = expr
	x, ok := p.constant("default", expr)
	if !ok {
		v.value = cty.DynamicVal
		return
	}

	if !v.typeGiven && !x.IsNull() && x.Type().IsPrimitiveType() {
		v.typ = x.Type()
	}

	converted, bad := v.convert(x)
	if bad != nil {
		p.add(expr.Range(), bad.detail, "default: %s", bad.summary)
	}

	v.value = converted
}

// convert makes a value one of the variable's type.
func (v *variable) convert(x cty.Value) (out cty.Value, bad *problem) {
	defer func() {
		if e := recover(); e != nil {
			out, bad = cty.DynamicVal, wrong("", "value cannot be converted: %v", e)
		}
	}()

	if v.defaults != nil {
		x = v.defaults.Apply(x)
	}

	out, err := convert.Convert(x, v.typ)
	if err != nil {
		return cty.DynamicVal, wrong("expected "+typeexpr.TypeString(v.typ), "wrong type: %v", err)
	}

	return out, nil
}

func (p *parser) validation(v *variable, b *hclsyntax.Block) {
	p.noBlocks(b.Body, "validation", validationNames)

	var x validation
	for _, a := range attributes(b.Body) {
		switch a.Name {
		case "condition":
			x.condition = a.Expr
		case "error_message":
			x.message = a.Expr
		default:
			p.unknown("attribute", a.Name, a.NameRange, "validation", validationNames)
			continue
		}
		refs := scan(p.report, a.Expr, false)
		p.use(use{name: a.Name, expr: a.Expr, refs: &refs, mode: useVariables, module: -1, local: -1})
	}

	if x.condition == nil || x.message == nil {
		p.absent(b.TypeRange, "write condition = … and error_message = \"…\"", "validation needs a condition and an error_message")
		return
	}

	v.validations = append(v.validations, x)
}

// VariableInput is a value that was given for a variable.
type VariableInput struct {
	Name string `json:"name"`
	// Text is the value: for a text, number or bool as it is, for anything else
	// an HCL literal (JSON is one).
	Text string `json:"text"`
	// Origin is the source of the value, for messages: "-var", "prod.vars:3",
	// "PIPELINED_VAR_version". A value whose origin begins with PIPELINED_VAR_
	// is ignored if the pipeline does not declare it, as the environment may
	// hold those of other pipelines.
	Origin string `json:"origin,omitempty"`
	// Value is set in place of Text for one that another pipeline gives, encoded as in
	// pipeline.Scope.
	Value string `json:"value,omitempty"`
}

// envOrigin is how the origin of a value from the environment begins.
const envOrigin = "PIPELINED_VAR_"

// input turns what was given for a variable into its value.
func (v *variable) input(x VariableInput) (cty.Value, *problem) {
	if x.Value == "" {
		return v.given(x.Text)
	}
	value, err := decodeValue(x.Value)
	if err != nil {
		return cty.DynamicVal, wrong("", "%v", err)
	}
	return v.convert(value)
}

// given turns the text that was given for a variable into its value.
func (v *variable) given(text string) (cty.Value, *problem) {
	raw := cty.StringVal(text)
	switch trimmed := strings.TrimSpace(text); {
	case v.typ == cty.String:
		return raw, checkText(text)
	case v.typ.IsPrimitiveType():
		if !smallNumber([]byte(trimmed)) {
			return cty.DynamicVal, wrong("expected "+v.typ.FriendlyName(), "wrong type: %s", quote(trimmed))
		}
		if trimmed == "null" {
			return cty.NullVal(v.typ), nil
		}
		raw = cty.StringVal(trimmed)
	case v.typ == cty.DynamicPseudoType && (trimmed == "" || !strings.Contains(`[{"`, trimmed[:1])):
		return raw, checkText(text)
	default:
		x, bad := parseLiteral(text)
		if bad != nil {
			return cty.DynamicVal, bad
		}
		raw = x
	}

	x, bad := v.convert(raw)
	if bad == nil && size(x, maxValue) > maxValue {
		bad = wrong(fmt.Sprintf("a value may take %d MiB", maxValue>>20), "value is too large")
	}

	return x, bad
}

// parseLiteral reads an HCL literal that was given as text.
func parseLiteral(text string) (cty.Value, *problem) {
	const rule = `write an HCL or JSON literal, such as ["a", "b"] or {"a": 1}`
	if len(text) > MaxSourceBytes {
		return cty.DynamicVal, wrong("", "value is too large")
	}

	r := &report{src: newSource("value", normalize([]byte(text)))}
	if r.prescan(); len(r.list) == 0 {
		if expr := parseExpression(r, hcl.InitialPos); expr != nil && len(r.list) == 0 {
			if !constantExpr(expr) {
				return cty.DynamicVal, wrong(rule, "value is no literal")
			}
			e := evaluation{report: r}
			if v, ok := e.value(expr, nil); ok {
				return v, nil
			}
		}
	}

	if len(r.list) == 0 {
		return cty.DynamicVal, wrong(rule, "value is no literal")
	}

	return cty.DynamicVal, wrong(rule, "%s (at character %d)", r.list[0].Summary, r.list[0].Column)
}

// parseExpression parses the text of a report's source as one expression. The
// text has passed the prescan. start is its position in its file.
func parseExpression(r *report, start hcl.Pos) (expr hclsyntax.Expression) {
	defer func() {
		if e := recover(); e != nil {
			r.add(hcl.Range{}, "", "the HCL parser gave up: %v", e)
			expr = nil
		}
	}()

	// A heredoc ends with its line.
	text := append(slices.Clip(r.src.text), '\n')
	expr, diags := hclsyntax.ParseExpression(text, r.src.name, start)
	if diags.HasErrors() {
		r.addHCL(diags, nil)
		return nil
	}

	return expr
}
