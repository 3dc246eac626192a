package language_test

import (
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline/language"
)

func TestFunctions(t *testing.T) {
	rows := []struct{ expr, want string }{
		{`abs(-2)`, "2"}, {`ceil(1.2)`, "2"}, {`floor(1.8)`, "1"}, {`max(1, 3)`, "3"}, {`min(1, 3)`, "1"}, {`log(8, 2)`, "3"},
		{`pow(2, 3)`, "8"}, {`signum(-3)`, "-1"}, {`parseint("ff", 16)`, "255"}, {`sum([1, 2, 3])`, "6"}, {`sum([])`, "0"},
		{`upper("a")`, "A"}, {`lower("A")`, "a"}, {`title("ab cd")`, "Ab Cd"}, {`trim("xax", "x")`, "a"}, {`trimspace(" a ")`, "a"},
		{`trimprefix("ab", "a")`, "b"}, {`trimsuffix("ab", "b")`, "a"}, {`substr("abc", 1, 1)`, "b"}, {`strrev("abc")`, "cba"},
		{`startswith("abc", "ab")`, "true"}, {`endswith("abc", "ab")`, "false"}, {`strcontains("abc", "b")`, "true"},
		{`replace("a.b.c", ".", "-")`, "a-b-c"}, {`replace("a1b2", "/[0-9]/", "#")`, "a#b#"}, {`chomp("a\n")`, "a"}, {`indent(2, "a\nb")`, "a\n  b"},
		{`regex("[a-z]+", "12ab")`, "ab"}, {`join(",", regexall("[a-z]", "1a2b"))`, "a,b"}, {`join("-", split(",", "a,b"))`, "a-b"},
		{`format("%s-%03d", "a", 7)`, "a-007"}, {`join(",", formatlist("%s!", ["a", "b"]))`, "a!,b!"}, {`basename("a/b")`, "b"}, {`dirname("a/b")`, "a"},
		{`jsonencode({ a = [1, true, null] })`, `{"a":[1,true,null]}`}, {`jsondecode("{\"a\":1}").a`, "1"}, {`base64encode("a")`, "YQ=="}, {`base64decode("YQ==")`, "a"},
		{`csvdecode("a,b\n1,2")[0].b`, "2"}, {`urlencode("a b&")`, "a+b%26"}, {`md5("")`, "d41d8cd98f00b204e9800998ecf8427e"},
		{`sha1("")`, "da39a3ee5e6b4b0d3255bfef95601890afd80709"}, {`substr(sha256(""), 0, 8)`, "e3b0c442"}, {`substr(sha512(""), 0, 8)`, "cf83e135"},
		{`length("aé")`, "2"}, {`length([1, 2])`, "2"}, {`length({ a = 1 })`, "1"}, {`length(toset(["a", "a"]))`, "1"},
		{`lookup({ a = "x" }, "a")`, "x"}, {`lookup({ a = "x" }, "b", "d")`, "d"}, {`lookup(tomap({ a = "x" }), "b", "d")`, "d"},
		{`join(",", [for i in range(3) : "${i}"])`, "0,1,2"}, {`merge({ a = 1 }, { a = 2 }).a`, "2"}, {`concat(["a"], ["b"])[1]`, "b"},
		{`flatten([["a"], ["b", ["c"]]])[2]`, "c"}, {`keys({ b = 1, a = 2 })[0]`, "a"}, {`values({ b = 1, a = 2 })[0]`, "2"}, {`zipmap(["a"], ["x"]).a`, "x"},
		{`contains(["a"], "a")`, "true"}, {`length(distinct(["a", "a"]))`, "1"}, {`length(setproduct(["a", "b"], ["c"]))`, "2"}, {`compact(["", "a"])[0]`, "a"},
		{`tolist(toset(["b", "a"]))[0]`, "a"}, {`tostring(1)`, "1"}, {`tonumber("1") + 1`, "2"}, {`tobool("true")`, "true"}, {`tomap({ a = "x" }).a`, "x"},
		{`one(["a"])`, "a"}, {`one([]) == null ? "none" : "some"`, "none"}, {`sort(["b", "a"])[0]`, "a"}, {`reverse(["a", "b"])[0]`, "b"}, {`slice(["a", "b", "c"], 1, 2)[0]`, "b"},
		{`chunklist(["a", "b", "c"], 2)[1][0]`, "c"}, {`element(["a", "b"], 3)`, "b"}, {`index(["a", "b"], "b")`, "1"}, {`coalesce("", null, "x")`, "x"},
		{`coalescelist([], ["a"])[0]`, "a"}, {`alltrue([true, false])`, "false"}, {`anytrue([true, false])`, "true"}, {`alltrue([])`, "true"},
		{`length(setunion(["a"], ["b"]))`, "2"}, {`length(setintersection(["a"], ["b"]))`, "0"}, {`length(setsubtract(["a"], ["b"]))`, "1"},
		{`can(tonumber("x"))`, "false"}, {`try(tonumber("x"), "d")`, "d"}, {`formatdate("YYYY", "2024-01-02T03:04:05Z")`, "2024"}, {`timeadd("2024-01-02T03:04:05Z", "1h")`, "2024-01-02T04:04:05Z"},
	}

	var b strings.Builder
	for _, row := range rows {
		b.WriteString(row.expr + ",\n")
	}

	got := compile(t, moduleWith("command = [\"x\",\n"+b.String()+"]"), language.Inputs{}).Modules[0].Command
	for i, row := range rows {
		if got[i+1] != row.want {
			t.Errorf("%s: got %q, want %q", row.expr, got[i+1], row.want)
		}
	}
}

func TestFunctions_mistakes(t *testing.T) {
	for expr, want := range map[string]string{
		`base64decode("x")`:        "it is not base64",
		`base64decode("/w==")`:     "not text in UTF-8",
		`lookup({}, "a")`:          `there is no element "a"`,
		`lookup("x", "a")`:         "must be a map or an object",
		`lookup({}, "a", 1, 2)`:    "at most one default",
		`index(["a"], "b")`:        "not in the list",
		`index("a", "b")`:          "must be a list",
		`one(["a", "b"])`:          "must have one element or none, not 2",
		`one("a")`:                 "must be a list or a set",
		`sum(["a"])`:               "every element must be a number",
		`sum("a")`:                 "must be a list or a set",
		`alltrue([1])`:             "every element must be a bool",
		`coalesce(null, "")`:       "all arguments are null or empty",
		`length(1)`:                "must be a text, list, set, map or object",
		`replace("a", "/(/", "b")`: "missing closing )",
		`1 / 0`:                    "number out of range",
		`regex("(", "a")`:          "missing closing )",
	} {
		got := mistakes(t, body("locals {\n x = "+expr+"\n}\nmodule \"m\" {\n command = [\"x\", local.x]\n}"), language.Inputs{})
		if len(got) != 1 || !strings.Contains(got[0], want) || !strings.HasPrefix(got[0], "3:") {
			t.Errorf("%s: got %v, want %s", expr, got, want)
		}
	}
}
