package language

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// textFunc makes a function from text to text.
func textFunc(parameter string, f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: parameter, Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := f(args[0].AsString())
			if err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(0, err)
			}
			return cty.StringVal(s), nil
		},
	})
}

// testFunc makes a function of two texts that says yes or no.
func testFunc(second string, f func(a, b string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "str", Type: cty.String}, {Name: second, Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

// always makes a function that cannot fail fit for textFunc.
func always(f func(string) string) func(string) (string, error) {
	return func(s string) (string, error) { return f(s), nil }
}

var (
	base64EncodeFunc = textFunc("str", always(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }))
	base64DecodeFunc = textFunc("str", func(s string) (string, error) {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return "", errors.New("it is not base64")
		}
		if !utf8.Valid(b) {
			return "", errors.New("what it decodes to is not text in UTF-8")
		}
		return string(b), nil
	})
	urlEncodeFunc = textFunc("str", always(url.QueryEscape))
	md5Func       = textFunc("str", always(func(s string) string { d := md5.Sum([]byte(s)); return hex.EncodeToString(d[:]) }))
	sha1Func      = textFunc("str", always(func(s string) string { d := sha1.Sum([]byte(s)); return hex.EncodeToString(d[:]) }))
	sha256Func    = textFunc("str", always(func(s string) string { d := sha256.Sum256([]byte(s)); return hex.EncodeToString(d[:]) }))
	sha512Func    = textFunc("str", always(func(s string) string { d := sha512.Sum512([]byte(s)); return hex.EncodeToString(d[:]) }))
	basenameFunc  = textFunc("path", always(path.Base))
	dirnameFunc   = textFunc("path", always(path.Dir))

	startsWithFunc   = testFunc("prefix", strings.HasPrefix)
	endsWithFunc     = testFunc("suffix", strings.HasSuffix)
	containsTextFunc = testFunc("substr", strings.Contains)
)

// replaceFunc replaces every occurrence of a text or, written between slashes,
// of a regular expression.
var replaceFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "str", Type: cty.String}, {Name: "substr", Type: cty.String}, {Name: "replace", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if p := args[1].AsString(); len(p) > 1 && p[0] == '/' && p[len(p)-1] == '/' {
			return stdlib.RegexReplace(args[0], cty.StringVal(p[1:len(p)-1]), args[2])
		}
		return stdlib.Replace(args[0], args[1], args[2])
	},
})

// lengthFunc counts the elements of a collection or the characters of a text.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType}},
	Type: func(args []cty.Value) (cty.Type, error) {
		t := args[0].Type()
		if t == cty.String || t.IsCollectionType() || t.IsTupleType() || t.IsObjectType() {
			return cty.Number, nil
		}
		return cty.Number, function.NewArgErrorf(0, "must be a text, list, set, map or object")
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		switch t := args[0].Type(); {
		case t == cty.String:
			return stdlib.Strlen(args[0])
		case t.IsTupleType():
			return cty.NumberIntVal(int64(t.Length())), nil
		case t.IsObjectType():
			return cty.NumberIntVal(int64(len(t.AttributeTypes()))), nil
		}
		return args[0].Length(), nil
	},
})

// lookupFunc gives an element of a map or object, or the default.
var lookupFunc = function.New(&function.Spec{
	Params:   []function.Parameter{{Name: "map", Type: cty.DynamicPseudoType}, {Name: "key", Type: cty.String}},
	VarParam: &function.Parameter{Name: "default", Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true},
	Type:     func([]cty.Value) (cty.Type, error) { return cty.DynamicPseudoType, nil },
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if len(args) > 3 {
			return cty.DynamicVal, errors.New("lookup takes a map, a key and at most one default")
		}

		m, key := args[0], args[1]
		switch t := m.Type(); {
		case t.IsObjectType():
			if t.HasAttribute(key.AsString()) {
				return m.GetAttr(key.AsString()), nil
			}
		case t.IsMapType():
			if m.HasIndex(key).True() {
				return m.Index(key), nil
			}
		default:
			return cty.DynamicVal, function.NewArgErrorf(0, "must be a map or an object")
		}

		if len(args) == 3 {
			return args[2], nil
		}

		return cty.DynamicVal, function.NewArgErrorf(1, "there is no element %q, and no default is given", key.AsString())
	},
})

// indexFunc finds the position of a value in a list.
var indexFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}, {Name: "value", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if t := args[0].Type(); !t.IsListType() && !t.IsTupleType() {
			return cty.UnknownVal(cty.Number), function.NewArgErrorf(0, "must be a list")
		}
		for it := args[0].ElementIterator(); it.Next(); {
			i, v := it.Element()
			if eq, err := stdlib.Equal(v, args[1]); err == nil && eq.IsKnown() && eq.True() {
				return i, nil
			}
		}
		return cty.UnknownVal(cty.Number), errors.New("the value is not in the list")
	},
})

// coalesceFunc gives the first argument that is neither null nor empty text.
var coalesceFunc = function.New(&function.Spec{
	VarParam: &function.Parameter{Name: "vals", Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true},
	Type: func(args []cty.Value) (cty.Type, error) {
		types := make([]cty.Type, len(args))
		for i, v := range args {
			types[i] = v.Type()
		}
		t, _ := convert.UnifyUnsafe(types)
		if t == cty.NilType {
			return t, errors.New("all arguments must be of the same type")
		}
		return t, nil
	},
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		for _, v := range args {
			v, err := convert.Convert(v, t)
			if err != nil {
				return cty.UnknownVal(t), err
			}
			if !v.IsNull() && (t != cty.String || v.AsString() != "") {
				return v, nil
			}
		}
		return cty.UnknownVal(t), errors.New("all arguments are null or empty")
	},
})

// oneFunc returns the only element of a list, or null if there is none.
var oneFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type:   func([]cty.Value) (cty.Type, error) { return cty.DynamicPseudoType, nil },
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if t := args[0].Type(); !t.IsListType() && !t.IsSetType() && !t.IsTupleType() {
			return cty.DynamicVal, function.NewArgErrorf(0, "must be a list or a set")
		}

		switch n := args[0].LengthInt(); n {
		case 0:
			return cty.NullVal(cty.DynamicPseudoType), nil
		case 1:
			it := args[0].ElementIterator()
			it.Next()
			_, v := it.Element()
			return v, nil
		default:
			return cty.DynamicVal, function.NewArgErrorf(0, "must have one element or none, not %d", n)
		}
	},
})

// sumFunc adds the numbers of a list.
var sumFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		total := cty.Zero
		err := eachElement(args[0], cty.Number, func(v cty.Value) { total = total.Add(v) })
		return total, err
	},
})

// allTrueFunc and anyTrueFunc look at a list of bools.
var (
	allTrueFunc = boolsFunc(true)
	anyTrueFunc = boolsFunc(false)
)

// boolsFunc folds a list of bools: start until an element differs from it.
func boolsFunc(start bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			result := start
			err := eachElement(args[0], cty.Bool, func(v cty.Value) {
				if v.True() != start {
					result = !start
				}
			})
			return cty.BoolVal(result), err
		},
	})
}

// eachElement converts the elements of a list or set.
func eachElement(list cty.Value, t cty.Type, f func(cty.Value)) error {
	if lt := list.Type(); !lt.IsListType() && !lt.IsSetType() && !lt.IsTupleType() {
		return function.NewArgErrorf(0, "must be a list or a set")
	}
	for it := list.ElementIterator(); it.Next(); {
		_, v := it.Element()
		v, err := convert.Convert(v, t)
		if err != nil || v.IsNull() || !v.IsKnown() {
			return function.NewArgError(0, fmt.Errorf("every element must be a %s", t.FriendlyName()))
		}
		f(v)
	}
	return nil
}
