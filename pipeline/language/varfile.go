package language

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// ParseVarFile reads a file of values: NAME = literal a line, as Terraform's
// tfvars are, or one JSON object if fileName ends in .json. fileName is also for
// messages and becomes the origin of the values.
func ParseVarFile(fileName string, src []byte) ([]VariableInput, Diagnostics) {
	if d := checkSize(fileName, src); d != nil {
		return nil, d
	}

	r := &report{src: newSource(fileName, normalize(src))}
	if strings.EqualFold(filepath.Ext(fileName), ".json") {
		return parseJSONVars(r)
	}
	if r.prescan(); len(r.list) > 0 {
		return nil, r.done()
	}

	body := parseBody(r)
	if body == nil {
		return nil, r.done()
	}

	for _, b := range body.Blocks {
		r.add(b.TypeRange, "write NAME = value", "a file of values has no blocks")
	}

	var list []VariableInput
	e := evaluation{report: r}
	for _, a := range attributes(body) {
		if !constantExpr(a.Expr) {
			r.add(a.Expr.Range(), "write the value itself, text in quotes", "the value of %s is no literal", a.Name)
			continue
		}
		v, ok := e.value(a.Expr, nil)
		if !ok {
			continue
		}
		line, _ := r.src.position(a.NameRange.Start.Byte)
		text := valueText(v)
		if _, literal := a.Expr.(*hclsyntax.LiteralValueExpr); literal && v.Type() == cty.Number {
			text = string(r.src.slice(a.Expr.Range())) // a text keeps all of 1.20
		}
		list = append(list, VariableInput{Name: a.Name, Text: text, Origin: fmt.Sprintf("%s:%d", fileName, line)})
	}

	if d := r.done(); len(d) > 0 {
		return nil, d
	}

	return list, nil
}

// jsonVarsRule is the advice for a file that is no JSON object.
const jsonVarsRule = `write one object: {"NAME": value, …}`

// parseJSONVars reads the report's source as one JSON object, each member of
// which is a variable. Texts are taken as they are: ${ in them begins nothing.
func parseJSONVars(r *report) ([]VariableInput, Diagnostics) {
	text := r.src.text
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(text, new(json.RawMessage)); {
	case nestedDeeper(string(text), maxDepth):
		r.add(hcl.Range{}, "", "nested more than %d deep", maxDepth)
	case errors.As(err, &syntax):
		r.add(tokenAt(text, max(int(syntax.Offset)-1, 0)), jsonVarsRule, "invalid JSON: %s", strings.TrimPrefix(err.Error(), "invalid "))
	case err == nil && bytes.TrimSpace(text)[0] != '{':
		r.add(tokenAt(text, 0), jsonVarsRule, "a file of values that ends in .json is one JSON object")
	}
	if d := r.done(); len(d) > 0 {
		return nil, d
	}

	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	_, _ = d.Token() // the brace; all of the text is known to be JSON
	list := r.jsonMembers(d)
	if d := r.done(); len(d) > 0 {
		return nil, d
	}
	return list, nil
}

// jsonMembers reads the members of the object that d is in.
func (r *report) jsonMembers(d *json.Decoder) []VariableInput {
	var list []VariableInput
	seen := map[string]hcl.Range{}
	for d.More() {
		at := tokenAt(r.src.text, int(d.InputOffset()))
		t, _ := d.Token()
		name, _ := t.(string)
		if first, twice := seen[name]; twice {
			r.add(at, "the first is at "+r.positionText(first), "second value of %s", name)
		}
		seen[name] = at

		var x any
		err := d.Decode(&x)
		var v cty.Value
		if err == nil {
			v, err = jsonValue(x)
		}
		if err != nil {
			r.add(at, "", "the value of %s: %v", name, err)
			continue
		}
		line, _ := r.src.position(at.Start.Byte)
		text := valueText(v)
		if number, ok := x.(json.Number); ok {
			text = number.String() // a text keeps all of 1.20
		}
		list = append(list, VariableInput{Name: name, Text: text, Origin: fmt.Sprintf("%s:%d", r.src.name, line)})
	}
	return list
}

// tokenAt is the place of the first token of a JSON text at or after an offset.
func tokenAt(text []byte, offset int) hcl.Range {
	for offset < len(text) && strings.IndexByte(" \t\r\n,", text[offset]) >= 0 {
		offset++
	}
	return hcl.Range{Start: hcl.Pos{Byte: offset}, End: hcl.Pos{Byte: offset + 1}}
}
