package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

func TestDecode_classes(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, tc := range []struct {
		name, body string
		// want is part of the error; "" where it is right, "-" only when strict.
		want, wantLenient string
	}{
		{"right", `{"source":"x","variables":{"a":"1","A":"2"},"git":{"sha":"s"},"targets":["m"]}`, "", ""},
		{"white space around", " \r\n\t{\"source\":\"x\"}\n", "", ""},
		{"escapes", `{"source":"\u00e9\ud83d\ude00\n\"\\\/"}`, "", ""},
		{"empty object", `{}`, "", ""},
		{"null field", `{"git":null,"targets":null}`, "", ""},
		{"not an object: array", `[]`, "expected a JSON object", "expected a JSON object"},
		{"not an object: null", `null`, "expected a JSON object", "expected a JSON object"},
		{"not an object: string", `"x"`, "expected a JSON object", "expected a JSON object"},
		{"white space only", "  ", "byte", "byte"},
		{"truncated", `{"source":`, "byte 10", "byte 10"},
		{"trailing", `{"source":"x"}{"source":"y"}`, "byte 15", "byte 15"},
		{"trailing comma", `{"source":"x",}`, "byte 15", "byte 15"},
		{"comment", `{/*x*/"source":"x"}`, "byte 2", "byte 2"},
		{"BOM", "\ufeff{}", "byte 1", "byte 1"},
		{"single quotes", `{'source':'x'}`, "byte 2", "byte 2"},
		{"raw newline in a string", "{\"source\":\"a\nb\"}", "byte", "byte"},
		{"repeated key", `{"source":"x","source":"y"}`, `"source": given twice`, `"source": given twice`},
		{"repeated key, escaped", `{"source":"x","sourc\u0065":"y"}`, `"source": given twice`, `"source": given twice`},
		{"repeated key in a map", `{"variables":{"a":"1","a":"2"}}`, `"variables.a": given twice`, `"variables.a": given twice`},
		{"repeated key below an unknown one", `{"x":[{"a":1,"a":2}]}`, `"x": unknown field`, `"x[0].a": given twice`},
		{"repeated unknown key", `{"x":1,"x":2}`, `"x": unknown field`, `"x": given twice`},
		{"key in another case", `{"Source":"x"}`, `"Source": unknown field; did you mean "source"?`, ""},
		{"the same field in two cases", `{"source":"x","SOURCE":"y"}`, `did you mean`, "given twice"},
		{"folded by Unicode", `{"ſource":"x"}`, `did you mean "source"`, ""},
		{"unknown field", `{"sauce":"x"}`, `"sauce": unknown field`, ""},
		{"empty name", `{"":{}}`, `"": unknown field`, ""},
		{"unknown field inside", `{"git":{"shaa":"x"}}`, `"git.shaa": unknown field`, ""},
		{"wrong type: number", `{"source":1}`, "source: got a JSON number, expected a string", "source: got"},
		{"wrong type: object", `{"targets":{}}`, "targets: got a JSON object, expected an array", "targets: got"},
		{"wrong type inside", `{"git":{"dirty":"yes"}}`, "git.dirty: got a JSON string, expected true or false", "git.dirty"},
		{"NaN", `{"source":NaN}`, "byte", "byte"},
		{"Infinity", `{"source":-Infinity}`, "byte", "byte"},
		{"64 deep", `{"source":"x","x":` + deep(63) + `}`, "unknown field", ""},
		{"65 deep", `{"x":` + deep(64) + `}`, "nested deeper than 64", "nested deeper than 64"},
		{"a million deep", strings.Repeat("[", 1<<20), "nested deeper than 64", "nested deeper than 64"},
		{"a million deep, objects", strings.Repeat(`{"a":`, 1<<18), "nested deeper than 64", "nested deeper than 64"},
		{"brackets in a string", `{"source":"` + strings.Repeat("[", 200) + `\"["}`, "", ""},
		{"invalid UTF-8", "{\"source\":\"\xff\"}", "not valid UTF-8", "not valid UTF-8"},
		{"overlong UTF-8", "{\"source\":\"\xc0\xaf\"}", "not valid UTF-8", "not valid UTF-8"},
		{"lone high surrogate", `{"source":"\ud800"}`, "lone surrogate", "lone surrogate"},
		{"lone low surrogate", `{"source":"a\udc00"}`, "lone surrogate", "lone surrogate"},
		{"surrogates the wrong way round", `{"source":"\udc00\ud800"}`, "lone surrogate", "lone surrogate"},
		{"high surrogate before an escape", `{"source":"\ud800\n\udc00"}`, "lone surrogate", "lone surrogate"},
		{"escaped backslash before u", `{"source":"\\ud800"}`, "", ""},
		{"surrogate in a key", `{"variables":{"\ud800":"x"}}`, "lone surrogate", "lone surrogate"},
		{"control escape", `{"source":"\u0000"}`, "", ""},
	} {
		for _, strict := range []bool{true, false} {
			want := tc.wantLenient
			if strict {
				want = tc.want
			}
			var v wire.SubmitRequest
			err := decode([]byte(tc.body), &v, strict)
			switch {
			case want == "" && err != nil:
				t.Errorf("%s (strict %v): %v", tc.name, strict, err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%s (strict %v): got %v, want %q", tc.name, strict, err, want)
			case err != nil && pipeline.KindOf(err) != pipeline.Invalid:
				t.Errorf("%s: kind %v", tc.name, pipeline.KindOf(err))
			}
		}
	}
}

func TestDecode_numbers(t *testing.T) {
	for body, want := range map[string]string{
		`{"deadlineSeconds":1.5}`:   "",
		`{"deadlineSeconds":-0}`:    "",
		`{"deadlineSeconds":1e999}`: "deadlineSeconds: got a JSON number 1e999, expected a number in range",
		`{"deadlineSeconds":01}`:    "byte",
		`{"deadlineSeconds":"1"}`:   "expected a number",
	} {
		var v wire.DrainRequest
		err := decode([]byte(body), &v, true)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}

// Whatever is decoded strictly means the same to encoding/json alone, and says
// the same when it is written and read again; nothing panics.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"source":"x"}`, `{"a":{"b":[1,2,{"c":null}]}}`, `{"variables":{"a":"\ud83d\ude00"}}`, `[`, `{"a":1,"a":2}`,
		`{"positions":{"m":{"attempt":1,"offset":5}},"follow":true}`, `{"source":"\ud800"}`, "{\"a\":\"\xff\"}", `{"digests":["e3b0"]}`, `{"executionId":"x","timeout":"00:00:01"}`} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, strict bool) {
		check(t, data, strict, new(wire.SubmitRequest), new(wire.SubmitRequest))
		check(t, data, strict, new(wire.FollowRequest), new(wire.FollowRequest))
		check(t, data, strict, new(wire.MissingRequest), new(wire.MissingRequest))
		check(t, data, strict, new(wire.ExecuteRequest), new(wire.ExecuteRequest))
		check(t, data, strict, new(wire.RegisterRequest), new(wire.RegisterRequest))
		check(t, data, strict, new(wire.TokenRequest), new(wire.TokenRequest))
	})
}

func check[T any](t *testing.T, data []byte, strict bool, v, std *T) {
	if err := decode(data, v, strict); err != nil {
		if pipeline.KindOf(err) != pipeline.Invalid {
			t.Fatalf("%q: kind %v: %v", data, pipeline.KindOf(err), err)
		}
		return
	}
	if err := json.Unmarshal(data, std); err != nil {
		t.Fatalf("%q: taken, but encoding/json says %v", data, err)
	}
	if strict {
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(new(T)); err != nil {
			t.Fatalf("%q: taken, but encoding/json says %v", data, err)
		}
	}
	if diff := cmp.Diff(v, std); diff != "" {
		t.Fatalf("%q: %s", data, diff)
	}
}

func TestAcceptedEncoding(t *testing.T) {
	for header, want := range map[string]string{
		"": "", "gzip": "gzip", "zstd": "zstd", "gzip, zstd": "zstd", "GZIP;q=1.0, br": "gzip", "*": "gzip", "br, deflate": "",
		"gzip;q=0": "", "zstd;q=0.5, gzip;q=0.8": "gzip", "zstd;q=x": "", "gzip;q=0, zstd;q=0.1": "zstd", "identity": "",
	} {
		if got := acceptedEncoding([]string{header}); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func TestCheckRanges(t *testing.T) {
	for header, ok := range map[string]bool{
		"bytes=0-": true, "bytes=-5": true, "bytes=0-0,2-3": true, "bytes=9-": true, "bytes=0-999": true, "bytes=50-60,1-2": true,
		"bytes=10-": false, "bytes=-0": false, "bytes=5-4": false, "bytes=-": false, "bytes=a-b": false, "bytes=--5": false, "bytes=-5--1": false,
		"items=0-1": false, "bytes=": false, "bytes=1": false, "bytes=99999999999999999999-": false,
		"bytes=" + strings.Repeat("0-1,", 7) + "0-1": true, "bytes=" + strings.Repeat("0-1,", 1000) + "0-1": false,
	} {
		if err := checkRanges([]string{header}, 10, false); (err == nil) != ok {
			t.Errorf("%.40q: got %v, want ok: %v", header, err, ok)
		}
	}
	if err := checkRanges([]string{"bytes=0-", "bytes=1-"}, 10, false); err == nil {
		t.Error("two headers were taken")
	}
}
