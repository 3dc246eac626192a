package language

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// value evaluates an expression. It does not bound the work: see evaluation.
func value(expr hclsyntax.Expression, ctx *hcl.EvalContext) (v cty.Value, diags hcl.Diagnostics) {
	defer func() {
		// Neither HCL nor cty promise not to panic on odd but valid input.
		if e := recover(); e != nil {
			at := expr.Range()
			v, diags = cty.DynamicVal, hcl.Diagnostics{{Severity: hcl.DiagError,
				Summary: "Expression cannot be evaluated", Detail: fmt.Sprint(e), Subject: &at}}
		}
	}()
	return expr.Value(ctx)
}

// evaluation evaluates expressions under the budgets of expensive.go.
type evaluation struct {
	*report
	// total is what the values took so far.
	total int
}

// tooExpensive is the message for an expression beyond a budget, and
// ErrTooExpensive's text.
const tooExpensive = "expression too expensive"

// value evaluates an expression in a scope; false means that a mistake was
// recorded.
func (e *evaluation) value(expr hclsyntax.Expression, ctx *hcl.EvalContext) (cty.Value, bool) {
	if !Expensive(expr) && estimate(expr, ctx, maxValue) > maxValue {
		e.tooLarge(expr)
		return cty.DynamicVal, false
	}

	v, diags := value(expr, ctx)
	if diags.HasErrors() {
		e.addHCL(diags, nil)
		return cty.DynamicVal, false
	}

	n := size(v, maxValue)
	if n > maxValue {
		if v.Type() == cty.Number {
			e.add(expr.Range(), "was something divided by zero?", "number out of range")
			return cty.DynamicVal, false
		}
		e.tooLarge(expr)
		return cty.DynamicVal, false
	}

	if !e.spend(n, expr.Range()) {
		return cty.DynamicVal, false
	}

	return v, true
}

// spend counts against the budget of all values together. The mistake is
// recorded once.
func (e *evaluation) spend(n int, at hcl.Range) bool {
	before := e.total
	e.total += n
	if e.total > maxTotal && before <= maxTotal {
		e.add(at, fmt.Sprintf("all values of a pipeline together may take %d MiB; large data belongs into files", maxTotal>>20), tooExpensive)
	}
	return e.total <= maxTotal
}

func (e *evaluation) tooLarge(expr hclsyntax.Expression) {
	e.add(expr.Range(), fmt.Sprintf("one value may take %d MiB and be nested %d deep; large data belongs into files", maxValue>>20, maxNesting), tooExpensive)
}

// encodeValue returns a value as JSON text with its type, as pipeline.Scope
// keeps it.
func encodeValue(v cty.Value) (string, error) {
	b, err := ctyjson.Marshal(v, cty.DynamicPseudoType)
	return string(b), err
}

// decodeValue reads what encodeValue wrote.
func decodeValue(s string) (v cty.Value, err error) {
	if nestedDeeper(s, 2*maxNesting+8) {
		return cty.DynamicVal, fmt.Errorf("value is nested too deep")
	}
	defer func() {
		if e := recover(); e != nil {
			v, err = cty.DynamicVal, fmt.Errorf("value cannot be read: %v", e)
		}
	}()
	return ctyjson.Unmarshal([]byte(s), cty.DynamicPseudoType)
}

// nestedDeeper reports whether the brackets of a JSON text are nested deeper
// than limit.
func nestedDeeper(s string, limit int) bool {
	depth, inString := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			if depth++; depth > limit {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}

	return false
}

// valueText writes a value as it would be given on the command line: text as
// it is, everything else as JSON that is also an HCL literal.
func valueText(v cty.Value) string {
	if v.IsKnown() && !v.IsNull() && v.Type() == cty.String {
		return v.AsString()
	}
	var b strings.Builder
	writeLiteral(&b, v)
	return b.String()
}

func writeLiteral(b *strings.Builder, v cty.Value) {
	switch t := v.Type(); {
	case v.IsNull() || !v.IsKnown():
		b.WriteString("null")
	case t == cty.String:
		writeQuoted(b, v.AsString())
	case t.IsPrimitiveType():
		s, err := convert.Convert(v, cty.String)
		if err == nil {
			b.WriteString(s.AsString())
		}
	default:
		open, end, keys := byte('['), byte(']'), false
		if t.IsObjectType() || t.IsMapType() {
			open, end, keys = '{', '}', true
		}

		b.WriteByte(open)

		for it, first := v.ElementIterator(), true; it.Next(); first = false {
			if !first {
				b.WriteByte(',')
			}
			key, element := it.Element()
			if keys {
				writeQuoted(b, key.AsString())
				b.WriteByte(':')
			}
			writeLiteral(b, element)
		}

		b.WriteByte(end)
	}
}

// writeQuoted writes a text so that JSON and HCL read the same from it.
func writeQuoted(b *strings.Builder, s string) {
	b.WriteByte('"')

	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == '$' || r == '%' || r == 0x7f:
			b.WriteString(`\u`)
			b.WriteString(strconv.FormatInt(0x10000+int64(r), 16)[1:])
		default:
			b.WriteRune(r)
		}
	}

	b.WriteByte('"')
}
