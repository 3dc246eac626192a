package language

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// The value of a sensitive variable must not be part of anything that is stored
// or shown. An expression that names one is therefore deferred: its source is
// stored, and its value is computed when the module is dispatched. If that is
// not possible, since the value itself is stored and shown (names, labels,
// files, times), naming one is a mistake. A condition is evaluated like any
// other: only its boolean is left.

// checkSecretName is for names of secrets, which become variables of a process.
func checkSecretName(s string) *problem {
	if bad := CheckSecretName(s); bad != "" {
		return wrong("a name has letters, digits and _, begins with no digit, and is not one that the worker sets", "%s", bad)
	}
	return nil
}

// CheckSecretName reports what is wrong with the name of a secret; "" if it is
// valid.
func CheckSecretName(s string) string {
	ok := s != "" && len(s) <= 128 && (s[0] < '0' || s[0] > '9')
	for _, c := range []byte(s) {
		ok = ok && (c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
	}
	switch {
	case !ok:
		return "invalid name of a secret " + quote(s)
	case checkEnvName(s) != nil, slices.Contains([]string{"PATH", "HOME", "TMPDIR", "CI", "TRACEPARENT", "TRACESTATE", "BAGGAGE"}, s):
		return "reserved name of a secret " + quote(s)
	}
	return ""
}

// namesSensitive reports whether an expression itself names a sensitive
// variable.
func (f *File) namesSensitive(r *references) bool {
	return f.sensitiveIn(r) != ""
}

// sensitiveIn is the first sensitive variable that an expression names itself.
func (f *File) sensitiveIn(r *references) string {
	if r.allVars {
		for _, v := range f.variables {
			if v.sensitive {
				return v.name
			}
		}
	}

	for _, x := range r.variables {
		if i, ok := f.variableIndex[x.name]; ok && f.variables[i].sensitive {
			return x.name
		}
	}

	return ""
}

// whichSensitive describes what makes an expression sensitive.
func (k *linker) whichSensitive(r *references, named []*local) string {
	if name := k.file.sensitiveIn(r); name != "" {
		return "var." + name + ", which is sensitive"
	}
	for _, l := range named {
		if l.value.sensitive {
			return fmt.Sprintf("local.%s, which holds a sensitive variable", l.name)
		}
	}
	return "a sensitive variable"
}

// shown is up to which length quote shows a value whole.
const shown = 60

// masked hides the values of sensitive variables in messages.
func (f *File) masked(in Inputs, list Diagnostics) Diagnostics {
	var values []string
	for _, v := range f.variables {
		if !v.sensitive {
			continue
		}

		value := v.value
		for _, x := range in.Variables {
			if x.Name == v.name {
				values = append(values, x.Text)
				if given, bad := v.input(x); bad == nil {
					value = given
				}
			}
		}

		if value != cty.NilVal {
			values = textsOf(value, values)
		}
	}

	if len(values) == 0 {
		return list
	}

	// Messages cut long values.
	for _, v := range slices.Clone(values) {
		if len(v) > shown {
			v = v[:shown]
			for !utf8.ValidString(v) {
				v = v[:len(v)-1]
			}
			values = append(values, v)
		}
	}

	set := mask.New(values)
	for i := range list {
		d := &list[i]
		d.Summary, d.Detail, d.SourceLine = set.String(d.Summary), set.String(d.Detail), set.String(d.SourceLine)
	}

	return list
}

// textsOf adds the texts that a value is made of, and its numbers, to list.
func textsOf(v cty.Value, list []string) []string {
	if v.IsNull() || !v.IsKnown() {
		return list
	}

	switch t := v.Type(); {
	case t == cty.String:
		return append(list, v.AsString())
	case t == cty.Number:
		if text, err := convert.Convert(v, cty.String); err == nil {
			return append(list, text.AsString())
		}
	case v.CanIterateElements():
		for it := v.ElementIterator(); it.Next(); {
			key, element := it.Element()
			if t.IsMapType() {
				list = textsOf(key, list)
			}
			list = textsOf(element, list)
		}
	}

	return list
}

// SensitiveValues returns the texts to mask, for a scope that is not sealed:
// the texts in the values of its sensitive variables.
func SensitiveValues(s *pipeline.Scope) []string {
	var list []string
	for _, name := range s.Sensitive {
		if v, err := decodeValue(s.Variables[name]); err == nil {
			list = textsOf(v, list)
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(v string) bool { return strings.TrimSpace(v) == "" })
}

// Unmasked names what is to be hidden and is given with a text that is too short to be
// masked: sensitive variables, and credentials of the environment. A default stands in
// the source in any case.
func (f *File) Unmasked(in Inputs) []string {
	short := map[string]bool{}
	for _, v := range f.variables {
		for _, x := range in.Variables {
			if !v.sensitive || x.Name != v.name {
				continue
			}
			value, bad := v.given(x.Text)
			short["variable "+v.name] = bad == nil && slices.ContainsFunc(textsOf(value, nil), mask.TooShort)
		}
	}
	for name, value := range in.Env {
		short[name] = pipeline.CredentialName(name) && mask.TooShort(value)
	}
	maps.DeleteFunc(short, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(short))
}

// MissingGit returns a mistake for each place that names a fact of git, for a
// submission that has none of them. why says so, how what to do.
func (f *File) MissingGit(why, how string) Diagnostics {
	r := &report{src: f.src}
	for _, x := range f.git {
		r.add(x.at, how, "%s has no value: %s", x.name, why)
	}
	return r.done()
}

// MissingSecrets returns a mistake for each compiled module that names a secret
// which is not set. how is the advice for setting one.
func (f *File) MissingSecrets(p *pipeline.Pipeline, set []string, how func(name string) string) Diagnostics {
	r := &report{src: f.src}
	skipped := p.Skipped()
	for i := range p.Modules {
		m := &p.Modules[i]
		if skipped[m.Name] {
			continue // it needs none
		}

		block := m.Name
		if m.Of != "" {
			block = m.Of
		}

		of := f.moduleOf(block, m)
		what := fmt.Sprintf("module %q", block)
		if m.Hook.Notifies() {
			what = fmt.Sprintf("notify %q", strings.TrimSuffix(m.Key, startKey("")))
		}
		for _, name := range m.SecretNames() {
			if of == nil || slices.Contains(set, name) {
				continue
			}
			detail := how(name)
			if near := didYouMean(name, set); near != "" {
				detail = near + "\n" + detail
			}
			at := of.at
			if of.secretsAt != nil {
				at = *of.secretsAt
			}
			r.add(at, detail, "%s: secret %s is not set", what, quote(name)) // once, for all instances: see done
		}
	}

	return r.done()
}

// moduleOf finds the source of a compiled module; nil if it has none of its own.
func (f *File) moduleOf(block string, m *pipeline.Module) *module {
	if j, ok := f.moduleIndex[block]; ok {
		return f.modules[j]
	}
	for _, x := range f.notifies {
		if m.Of == notifyBlock && (m.Key == x.static.Name || m.Key == startKey(x.static.Name)) {
			return &x.run
		}
	}
	return nil
}
