package result_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/internal/worker/result"
	"github.com/pipelined/pipelined/pipeline"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"white space", " \n\t\n", ""},
		{"one", "a=1", `{"a":"1"}`},
		{"lines", "b=2\na=1\n", `{"a":"1","b":"2"}`},
		{"rest of the line", "a= x=y <<EOF \n", `{"a":" x=y <<EOF "}`},
		{"empty value", "a=\n", `{"a":""}`},
		{"last wins", "a=1\na=2\n", `{"a":"2"}`},
		{"blank lines", "\n\na=1\n \nb=2\n\n", `{"a":"1","b":"2"}`},
		{"no html escapes", "a=<&>\n", `{"a":"<&>"}`},
		{"key", "_A-9=x\n", `{"_A-9":"x"}`},
		{"here", "a<<EOF\nx\ny\nEOF\nb=1\n", `{"a":"x\ny","b":"1"}`},
		{"here, empty", "a<<EOF\nEOF\n", `{"a":""}`},
		{"here, blank lines kept", "a<<EOF\n\nx\n\nEOF", `{"a":"\nx\n"}`},
		{"here, other end", "a<<---\nEOF\n--- \n---\n", `{"a":"EOF\n--- "}`},
		{"here, like lines", "a<<E\nb=1\n{\nE\n", `{"a":"b=1\n{"}`},
		{"value like here", "a=b<<EOF\nc=1\n", `{"a":"b<<EOF","c":"1"}`},
		{"object", `{"n": 1, "s": "x", "l": [1, {"k": null}], "b": true}`, `{"b":true,"l":[1,{"k":null}],"n":1,"s":"x"}`},
		{"object, large number", `{"n": 12345678901234567890123}`, `{"n":12345678901234567890123}`},
		{"object, white space", "\n  {\n}\n\n", `{}`},
		{"object, brackets in strings", `{"a": "` + strings.Repeat("[", 100) + `\""}`, `{"a":"` + strings.Repeat("[", 100) + `\""}`},
		{"unicode", "a=grüße ☃\n", `{"a":"grüße ☃"}`},
	} {
		got, err := result.Parse([]byte(tc.in))
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.name, got, err, tc.want)
		}
	}
}

func TestParse_errors(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
		kind           pipeline.Kind
	}{
		{"too large", "a=" + strings.Repeat("x", 64<<10), "65538 bytes, the limit is 65536 (64 KiB)", pipeline.TooLarge},
		{"too large quoted", "a=" + strings.Repeat("\x01", 60<<10), "the limit is 65536", pipeline.TooLarge},
		{"no pair", "a=1\nhello\n", `line 2 of $PIPELINED_OUTPUT: expected key=value, key<<EOF or one JSON object, got "hello"`, pipeline.Invalid},
		{"bad key", "9a=1", `line 1 of $PIPELINED_OUTPUT: key "9a"`, pipeline.Invalid},
		{"blank in key", "a b=1", `key "a b"`, pipeline.Invalid},
		{"no key", "=1", `key ""`, pipeline.Invalid},
		{"long key", strings.Repeat("k", 129) + "=1", "at most 128", pipeline.Invalid},
		{"bad key here", "a b<<EOF\nEOF\n", `key "a b"`, pipeline.Invalid},
		{"open here", "x=1\n\na<<EOF\nb\nEOF \n", `line 3 of $PIPELINED_OUTPUT: a<<EOF has no closing line "EOF"`, pipeline.Invalid},
		{"line after here", "a<<EOF\n1\n2\nEOF\nbad\n", "line 5", pipeline.Invalid},
		{"no end", "a<<\nx\n", "names no end", pipeline.Invalid},
		{"utf-8", "a=1\nb=\xff\n", "line 2 of $PIPELINED_OUTPUT: it is not valid UTF-8", pipeline.Invalid},
		{"object after lines", "a=1\n{\"b\":2}\n", "line 2 of $PIPELINED_OUTPUT: a JSON object after key=value lines", pipeline.Invalid},
		{"lines after object", "{\"b\":\n2}\na=1\n", "line 3 of $PIPELINED_OUTPUT: text after the JSON object", pipeline.Invalid},
		{"two objects", "{}{}", "text after the JSON object", pipeline.Invalid},
		{"broken object", `{"a":`, "is no JSON object", pipeline.Invalid},
		{"bad key in object", `{"a.b": 1}`, `key "a.b"`, pipeline.Invalid},
		{"deep", `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "nested deeper than 64", pipeline.Invalid},
		{"array", `[1]`, "expected key=value", pipeline.Invalid},
	} {
		got, err := result.Parse([]byte(tc.in))
		if err == nil || !strings.Contains(err.Error(), tc.want) || pipeline.KindOf(err) != tc.kind {
			t.Errorf("%s: %.60s, %.200v; want %v %q", tc.name, got, err, tc.kind, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a=1\n", "a<<EOF\nx\nEOF\n", `{"a": [1, {"b": "c"}]}`, "a<<E\n", "\xff", "{", "a=1\n{}", "a<<\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := result.Parse(in)
		if err != nil {
			if k := pipeline.KindOf(err); k != pipeline.Invalid && k != pipeline.TooLarge {
				t.Fatalf("kind %v of %v", k, err)
			}
			return
		}
		if got == nil {
			return
		}
		var object map[string]any
		if err := json.Unmarshal(got, &object); err != nil {
			t.Fatalf("%q gave %q: %v", in, got, err)
		}
		again, err := result.Parse(got)
		if err == nil && string(again) != string(got) {
			t.Fatalf("%q is read as %q", got, again)
		}
	})
}
