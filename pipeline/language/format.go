package language

import (
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// Format returns a source in the usual form: indented by two, equal signs of
// neighbouring lines below each other. A source that cannot be parsed is
// refused, never changed.
func Format(fileName string, src []byte) ([]byte, Diagnostics) {
	if d := checkSize(fileName, src); d != nil {
		return nil, d
	}
	r := &report{src: newSource(fileName, normalize(src))}
	if r.prescan(); len(r.list) == 0 {
		parseBody(r)
	}
	if d := r.done(); len(d) > 0 {
		return nil, d
	}
	return hclwrite.Format(r.src.text), nil
}

// Literal writes a text as a literal: in quotes, with what a template would evaluate
// escaped.
func Literal(text string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(text)).Bytes())
}
