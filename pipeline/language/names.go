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

// HasPipeline reports whether a file has a pipeline block, also if it has mistakes.
func HasPipeline(src []byte) bool {
	if len(src) > MaxSourceBytes {
		return false
	}

	tokens, _ := hclsyntax.LexConfig(normalize(src), "", hcl.InitialPos)
	depth, first := 0, true // first is set at the beginning of a line
	for i, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen:
			depth--
		case hclsyntax.TokenIdent:
			if first && depth == 0 && string(t.Bytes) == "pipeline" && tokens[i+1].Type != hclsyntax.TokenEqual { // the last token is none of these
				return true
			}
		}
		first = t.Type == hclsyntax.TokenNewline || t.Type == hclsyntax.TokenComment
	}

	return false
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
