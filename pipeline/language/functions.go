package language

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// functions are what expressions may call: those of Terraform that touch no
// file, no network, no clock and no source of chance, so that an expression has
// the same value on every node and at every time. The table is never changed.
var functions = map[string]function.Function{
	// numbers
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc,
	"max": stdlib.MaxFunc, "min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc,
	"signum": stdlib.SignumFunc, "sum": sumFunc,

	// text
	"basename": basenameFunc, "chomp": stdlib.ChompFunc, "dirname": dirnameFunc, "endswith": endsWithFunc,
	"format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc,
	"join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc,
	"replace": replaceFunc, "split": stdlib.SplitFunc, "startswith": startsWithFunc, "strcontains": containsTextFunc,
	"strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc,
	"trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc,
	"upper": stdlib.UpperFunc,

	// lists, sets, maps and objects
	"alltrue": allTrueFunc, "anytrue": anyTrueFunc, "chunklist": stdlib.ChunklistFunc, "coalesce": coalesceFunc,
	"coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc,
	"contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc,
	"flatten": stdlib.FlattenFunc, "index": indexFunc, "keys": stdlib.KeysFunc, "length": lengthFunc,
	"lookup": lookupFunc, "merge": stdlib.MergeFunc, "one": oneFunc, "range": rangeFunc,
	"reverse": stdlib.ReverseListFunc, "setintersection": stdlib.SetIntersectionFunc,
	"setproduct": stdlib.SetProductFunc, "setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc,
	"slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,

	// encodings and digests
	"base64decode": base64DecodeFunc, "base64encode": base64EncodeFunc, "csvdecode": stdlib.CSVDecodeFunc,
	"jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc, "urlencode": urlEncodeFunc,
	"md5": md5Func, "sha1": sha1Func, "sha256": sha256Func, "sha512": sha512Func,

	// times that are given, never the time it is
	"formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc,

	// types and errors
	"can": tryfunc.CanFunc, "try": tryfunc.TryFunc,
	"tobool": stdlib.MakeToFunc(cty.Bool), "tonumber": stdlib.MakeToFunc(cty.Number),
	"tostring": stdlib.MakeToFunc(cty.String), "tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)),
	"tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)), "toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)),
}

func functionNames() []string { return slices.Sorted(maps.Keys(functions)) }

// missingFunctions says of functions that a Terraform user may look for why
// they are not there.
var missingFunctions = func() map[string]string {
	m := map[string]string{}
	for _, why := range []struct {
		text  string
		names []string
	}{
		{"an expression has the same value whenever it is evaluated: use run.id, or let the module make it",
			[]string{"uuid", "uuidv5", "bcrypt", "timestamp", "plantimestamp"}},
		{"expressions read no files and no environment: let the module read it, or pass it as a variable",
			[]string{"file", "fileexists", "fileset", "filebase64", "filemd5", "filesha1", "filesha256", "filesha512",
				"filebase64sha256", "filebase64sha512", "templatefile", "abspath", "pathexpand", "env"}},
		{`mark the variable itself: sensitive = true`, []string{"sensitive", "nonsensitive", "issensitive"}},
	} {
		for _, name := range why.names {
			m[name] = why.text
		}
	}

	return m
}()
