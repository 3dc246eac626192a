package language

import (
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// cacheKeyName is the attribute, and its key in pipeline.Module.Deferred.
const cacheKeyName = "cache_key"

// cacheKey decodes cache_key = [expr, …].
func (p *parser) cacheKey(m *module, a *hclsyntax.Attribute, index int) {
	l, constant := p.deferredUse(cacheKeyName, a.Expr, false, index)
	if !constant {
		m.cacheKey = l
		return
	}
	if v, ok := literal(p.report, a.Expr); ok {
		m.static.CacheKey = cacheKeyOf(p.report, a.Expr, v)
	}
}

// checkCache refuses a key of a module that has no use for one.
func (p *parser) checkCache(body *hclsyntax.Body) {
	key, cache := body.Attributes[cacheKeyName], body.Attributes["cache"]
	if key != nil && cache == nil {
		p.add(key.NameRange, "write cache = true beside it, or leave it out", "cache_key without cache")
	}
}

// cacheKey evaluates what a module adds to its key.
func (c *compilation) cacheKey(out *pipeline.Module, l *deferrable) {
	if !out.Cache {
		out.CacheKey = nil
		return
	}
	c.attribute(out, l, func(v cty.Value, keep bool) {
		if key := cacheKeyOf(c.report, l.expr, v); keep {
			out.CacheKey = key
		}
	})
}

// cacheKeyOf reads cache_key: each value as its JSON text with its type, so
// that no two different values are equal.
func cacheKeyOf(r *report, expr hclsyntax.Expression, v cty.Value) []string {
	elements, ok := elementsOf(r, cacheKeyName, expr, v)
	if !ok {
		return nil
	}

	if len(elements) > maxPatterns {
		r.add(expr.Range(), "", "%s has more than %d elements", cacheKeyName, maxPatterns)
		return nil
	}

	key := make([]string, 0, len(elements))
	for i, e := range elements {
		if !e.IsWhollyKnown() {
			return nil // the mistake was recorded earlier
		}
		text, err := encodeValue(e)
		if err != nil {
			r.add(elementRange(expr, i), "", "%s[%d]: %v", cacheKeyName, i, err)
			return nil
		}
		key = append(key, text)
	}

	return key
}
