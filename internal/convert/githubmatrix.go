package convert

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rhysd/actionlint"
)

// matrix converts a matrix to one of the language, or, if it has more than a product of
// its axes, to an object of all combinations.
func (j *job) matrix(m *actionlint.Matrix) {
	if m == nil {
		return
	}
	if m.Expression != nil {
		j.w.note(j, m.Expression.Pos, "matrix", "an expression as a whole: for_each takes a list or an object")
		j.blocked = true
		return
	}
	for key, r := range m.Rows {
		if r != nil && r.Name == nil && r.Expression != nil { // the parser has its name as the key alone
			r.Name = &actionlint.String{Value: key, Pos: r.Expression.Pos}
		}
	}
	maps.DeleteFunc(m.Rows, func(_ string, r *actionlint.MatrixRow) bool { return r == nil || r.Name == nil }) // mistakes, which are noted
	rows := slices.SortedFunc(maps.Values(m.Rows), func(a, b *actionlint.MatrixRow) int {
		return cmp.Or(cmp.Compare(a.Name.Pos.Line, b.Name.Pos.Line), cmp.Compare(a.Name.Pos.Col, b.Name.Pos.Col))
	})
	if slices.ContainsFunc(rows, func(r *actionlint.MatrixRow) bool { return r.Expression != nil }) {
		j.dynamic(m, rows)
		return
	}
	if (m.Include != nil && m.Include.ContainsExpression()) || (m.Exclude != nil && m.Exclude.ContainsExpression()) {
		j.w.note(j, m.Pos, "matrix", "an expression in include or exclude")
		j.blocked = true
		return
	}

	dropped := j.runnableValues(rows)
	combos, other := j.runnable(j.product(m, rows))
	dropped = dropped || other
	if j.blocked {
		return
	}
	if len(combos) == 0 {
		j.blocked = j.blocked || dropped
		return
	}
	for name := range combos[0] {
		j.axisNames[strings.ToLower(name)] = true
		j.bools[strings.ToLower(name)] = !slices.ContainsFunc(combos, func(c combination) bool { return c[name] != "true" && c[name] != "false" })
	}
	if m.Include == nil && m.Exclude == nil && !slices.ContainsFunc(rows, func(r *actionlint.MatrixRow) bool { return slices.ContainsFunc(r.Values, isNoKey) }) {
		var axes []pair
		for _, r := range rows {
			var values []string
			for _, v := range r.Values {
				values = append(values, j.raw(v))
			}
			axes = append(axes, pair{r.Name.Value, list(values)})
		}
		j.attribute, j.combinations, j.axes = "matrix", object(axes), "matrix"
		return
	}
	j.attribute, j.combinations, j.axes = "for_each", enumerated(combos), "each.value"
}

// dynamic converts a matrix of one axis whose values are known later.
func (j *job) dynamic(m *actionlint.Matrix, rows []*actionlint.MatrixRow) {
	if len(rows) == 1 && m.Include == nil && m.Exclude == nil {
		s := &scope{w: j.w, j: j}
		expr, err := s.literal(rows[0].Expression.Value)
		if err == nil {
			j.attribute, j.combinations, j.axes, j.single = "for_each", expr, "each.value", true
			return
		}
		s.note(rows[0].Expression.Pos, "matrix."+rows[0].Name.Value, err)
	} else {
		j.w.note(j, m.Pos, "matrix", "an axis that is an expression beside others")
	}
	j.blocked = true
}

// combination is one of a matrix: expressions by axis.
type combination map[string]string

// product gives the combinations of a matrix, as GitHub does: those of the axes, without
// those that exclude names, and include either adds to them or adds others.
func (j *job) product(m *actionlint.Matrix, rows []*actionlint.MatrixRow) []combination {
	combos := []combination{}
	if len(rows) > 0 {
		combos = []combination{{}}
	}
	axes := map[string]bool{}
	for _, r := range rows {
		axes[r.Name.Value] = true
		var next []combination
		for _, c := range combos {
			for _, v := range r.Values {
				with := maps.Clone(c)
				with[r.Name.Value] = j.raw(v)
				next = append(next, with)
			}
		}
		combos = next
	}
	for _, ex := range j.assigned(m.Exclude) {
		combos = slices.DeleteFunc(combos, func(c combination) bool {
			for name, v := range ex {
				if c[name] != v {
					return false
				}
			}
			return true
		})
	}
	products := len(combos)
	for _, in := range j.assigned(m.Include) {
		added := false
		for _, c := range combos[:products] {
			fits := true
			for name, v := range in {
				fits = fits && (!axes[name] || c[name] == v)
			}
			if fits {
				maps.Copy(c, in)
				added = true
			}
		}
		if !added {
			combos = append(combos, in)
		}
	}
	names := map[string]bool{}
	for _, c := range combos {
		for name := range c {
			names[name] = true
		}
	}
	for _, c := range combos {
		for name := range names {
			if _, has := c[name]; !has {
				c[name] = `""` // what is missing is empty
			}
		}
	}
	return combos
}

func (j *job) assigned(list *actionlint.MatrixCombinations) []combination {
	if list == nil {
		return nil
	}
	var out []combination
	for _, c := range list.Combinations {
		one := combination{}
		for _, a := range c.Assigns {
			one[a.Key.Value] = j.raw(a.Value)
		}
		out = append(out, one)
	}
	return out
}

// isNoKey reports whether a value cannot be part of the name of an instance.
func isNoKey(v actionlint.RawYAMLValue) bool {
	text, is := v.(*actionlint.RawYAMLString)
	return !is || text.Value == ""
}

// raw writes a value of a matrix. A number stays a text, since 1.20 is no 1.2.
func (j *job) raw(v actionlint.RawYAMLValue) string {
	switch v := v.(type) {
	case *actionlint.RawYAMLObject:
		var pairs []pair
		for _, name := range slices.Sorted(maps.Keys(v.Props)) {
			pairs = append(pairs, pair{name, j.raw(v.Props[name])})
		}
		return object(pairs)
	case *actionlint.RawYAMLArray:
		var list []string
		for _, e := range v.Elems {
			list = append(list, j.raw(e))
		}
		return "[" + strings.Join(list, ", ") + "]"
	case *actionlint.RawYAMLString:
		if v.Value == "true" || v.Value == "false" {
			return v.Value
		}
		if actionlint.ContainsExpression(v.Value) {
			s := &scope{w: j.w, j: j}
			expr, err := s.literal(v.Value)
			if err == nil && strings.Contains(expr, "module.") {
				err = unsupported(v.Value, "a value of a matrix is known at the submission: for_each may have a list that a module leaves")
				j.blocked = true
			}
			if err == nil {
				return expr
			}
			s.note(v.Pos(), "matrix", err)
			return `""`
		}
		return quote(v.Value)
	}
	return `""`
}

// runnableValues leaves out the values of an axis for systems on which no worker runs.
func (j *job) runnableValues(rows []*actionlint.MatrixRow) (dropped bool) {
	axis, before, after := j.runsOnAxis()
	for _, r := range rows {
		if r.Name.Value != axis {
			continue
		}
		r.Values = slices.DeleteFunc(r.Values, func(v actionlint.RawYAMLValue) bool {
			text, is := v.(*actionlint.RawYAMLString)
			other := is && otherSystem(before+text.Value+after)
			if other {
				j.w.note(j, v.Pos(), "runs-on: "+before+text.Value+after, otherSystemWhy)
				dropped = true
			}
			return other
		})
	}
	return dropped
}

// otherSystemWhy is why a job for another system is left out.
const otherSystemWhy = "workers run on Linux"

// runnable leaves out the combinations for systems on which no worker runs.
func (j *job) runnable(combos []combination) (left []combination, dropped bool) {
	axis, before, after := j.runsOnAxis()
	if axis == "" {
		return combos, false
	}
	for _, c := range combos {
		if label := before + strings.Trim(c[axis], `"`) + after; otherSystem(label) {
			j.w.note(j, j.labelsPos(), "runs-on: "+label, otherSystemWhy)
			dropped = true
			continue
		}
		left = append(left, c)
	}
	return left, dropped
}

// enumerated writes combinations as an object with a key for each.
func enumerated(combos []combination) string {
	var pairs []pair
	seen := map[string]bool{}
	for _, c := range combos {
		var key []string
		var values []pair
		for _, name := range slices.Sorted(maps.Keys(c)) {
			values = append(values, pair{name, c[name]})
			differs := slices.ContainsFunc(combos, func(o combination) bool { return o[name] != c[name] })
			if text := keyPart(c[name]); differs && text != "" {
				key = append(key, text)
			}
		}
		k := strings.Join(key, "-")
		if k == "" {
			k = "1"
		}
		for base, n := k, 2; seen[k]; n++ {
			k = base + "-" + strconv.Itoa(n)
		}
		seen[k] = true
		pairs = append(pairs, pair{k, object(values)})
	}
	return object(pairs)
}

// keyPart is what a value adds to the key of its combination: its words, if it is a text
// and not long.
func keyPart(expr string) string {
	text := strings.Trim(expr, `"`)
	if strings.ContainsAny(text, "{[\n$") || len(text) > 40 {
		return ""
	}
	return strings.Trim(notInKeys.ReplaceAllString(text, "-"), "-")
}

var notInKeys = regexp.MustCompile(`[^A-Za-z0-9._]+`)
