package language

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/pipelined/pipelined/pipeline"
)

// counts reads an object of whole numbers: its names as texts, and its numbers.
func (s *spec[T]) counts(r *report, name string, expr hclsyntax.Expression, v cty.Value) (reading, bool) {
	out := reading{counts: map[string]int{}}
	all := true
	values := v.AsValueMap()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		at := itemRange(expr, key)
		n, bad := wholeNumber(values[key], s.low, s.high)
		if word := s.check(key); word != nil {
			bad = word
		}
		if bad != nil {
			r.add(at, bad.detail, "%s[%s]: %s", name, quote(key), bad.summary)
		}
		all = all && bad == nil && values[key].IsKnown()
		out.texts, out.counts[key] = append(out.texts, key), n
	}
	if p := s.checkAll(out.texts); p != nil && all {
		r.add(expr.Range(), p.detail, "%s: %s", name, p.summary)
		return out, false
	}
	return out, all
}

// itemRange is the position of an item of an object that is written out, else that of
// the whole expression.
func itemRange(expr hclsyntax.Expression, key string) hcl.Range {
	if object, ok := expr.(*hclsyntax.ObjectConsExpr); ok {
		for _, item := range object.Items {
			if word, ok := literalKey(item.KeyExpr); ok && word == key {
				return item.ValueExpr.Range()
			}
		}
	}
	return expr.Range()
}

// setLocks keeps the keys of not_in_parallel.
func setLocks(m *pipeline.Module, r reading) {
	m.Locks, m.LockHolders = unique(r.texts), nil
	slices.Sort(m.Locks)
	for key, n := range r.counts {
		if n > 1 {
			if m.LockHolders == nil {
				m.LockHolders = map[string]int{}
			}
			m.LockHolders[key] = n
		}
	}
}

// tooManyLocks says that a module has more keys than fit.
func tooManyLocks(list []string) *problem {
	if len(list) > pipeline.MaxLocks {
		return wrong("", "%d keys are more than %d", len(list), pipeline.MaxLocks)
	}
	return nil
}
