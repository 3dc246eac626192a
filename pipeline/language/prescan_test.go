package language_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline/language"
)

// bomb is a source that would exhaust the stack, the memory or the time of
// HCL's parser or evaluator.
type bomb struct{ name, head, unit, tail string }

func (b bomb) source(size int) string {
	n := max(1, (size-len(b.head)-len(b.tail))/len(b.unit))
	return b.head + strings.Repeat(b.unit, n) + b.tail
}

var bombs = []bomb{
	{"brackets", "a = ", "[", ""},
	{"brackets at the top", "", "[", ""},
	{"parentheses", "a = ", "(", ""},
	{"not", "a = ", "!", "true"},
	{"minus", "a = ", "-", "1"},
	{"minus on lines", "a = (", "-\n", "1)"},
	{"minus between comments", "a = (", "-/**/", "1)"},
	{"templates", "a = ", `"${`, ""},
	{"templates in heredocs", "a = <<A\n", "${<<A\n", ""},
	{"objects", "a = ", "{a=", ""},
	{"objects in parentheses", "a = ", "{(", ""},
	{"indexes", "a = ", "a[", ""},
	{"calls", "a = ", "f(", ""},
	{"calls with arguments", "a = ", "f(1,", ""},
	{"lists with elements", "a = ", "[1,", ""},
	{"blocks", "", "a {\n", ""},
	{"blocks with labels", "", "a \"b\" {\n", ""},
	{"if in a text", `a = "`, "%{if true}", `"`},
	{"for in a text", `a = "`, "%{for a in b}", `"`},
	{"if in a heredoc", "a = <<A\n", "%{if true}\n", ""},
	{"conditions", "a = ", "b?c:", "d"},
	{"conditions in conditions", "a = ", "b?", "d"},
	{"conditions on lines", "a = (", "b?c:\n", "d)"},
	{"sums", "a = 1", "+1", ""},
	{"sums on lines", "a = (1", "+\n1", ")"},
	{"sums in a for object", "a = {for x in y: x => 1", "+\n1", "}"},
	{"comparisons", "a = 1", "==1", ""},
	{"and", "a = b", "&&b", ""},
	{"or", "a = b", "||b", ""},
	{"dots", "a = b", ".c", ""},
	{"dots with numbers", "a = b", ".0", ""},
	{"splats", "a = b", ".*.c", ""},
	{"full splats", "a = b", "[*].c", ""},
	{"dynamic indexes", "a = b", "[c]", ""},
	{"for in lists", "a = ", "[for a in ", ""},
	{"for in objects", "a = ", "{for a in ", ""},
	{"namespaces", "a = b", "::c", "()"},
	{"mixed", "a = ", `[{a=f("${(`, ""},
	{"mismatched", "a = ", "[(]", ""},
	{"unclosed strings", "a = ", "[\"", ""},
	{"labels of objects", "a = {", "(((", ""},
	{"lines of a heredoc", "a = <<A\n", "x\n", "A\n"},
	{"lines of a flush heredoc", "a = <<-A\n", " x\n", "A\n"},
	{"dollars in a text", `a = "`, "$${", `"`},
	{"numbers", "a = ", "9", ""},
}

func TestPrescan_bombs(t *testing.T) {
	sizes := []int{60 << 10, 250 << 10}
	if raceFactor > 1 {
		sizes = sizes[:1] // nothing here is concurrent
	}

	for _, b := range bombs {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s/%dKiB", b.name, size>>10), func(t *testing.T) {
				t.Parallel()
				got := probeSource(t, []byte(b.source(size)))
				if len(got.Parse) == 0 {
					t.Error("the source was taken")
				}
				if len(got.Prescan) == 0 && !small(b, size) {
					t.Errorf("the prescan let it through; the parser says %v", got.Parse[0].Summary)
				}
				checkCost(t, got)
			})
		}
	}
}

// small says which bombs are none at 60 KiB.
func small(b bomb, size int) bool {
	return size < 100<<10 && (strings.Contains(b.name, "lines of") || strings.Contains(b.name, "dollars"))
}

func checkCost(t *testing.T, got probed) {
	t.Helper()
	t.Logf("prescan %v %d MiB, parse %v %d MiB: %s", got.PrescanTime, got.PrescanMemory>>20, got.ParseTime, got.ParseMemory>>20, first(got.Parse))
	const most = 64 << 20
	if got.ParseMemory > most*raceFactor {
		t.Errorf("it took %d MiB, want at most %d", got.ParseMemory>>20, most>>20)
	}
	if total := got.PrescanTime + got.ParseTime; total > 2*time.Second*raceFactor {
		t.Errorf("it took %v of the processor", total)
	}
}

func first(d language.Diagnostics) string {
	if len(d) == 0 {
		return "no mistakes"
	}
	return fmt.Sprintf("%s at %d:%d", d[0].Summary, d[0].Line, d[0].Column)
}

func TestPrescan_size(t *testing.T) {
	got := probeSource(t, []byte(strings.Repeat("[", 300<<10)))
	if len(got.Prescan) != 1 || !strings.Contains(got.Prescan[0].Summary, "300 KiB is larger than the limit of 256 KiB") {
		t.Errorf("got %v", got.Prescan)
	}
	checkCost(t, got)
}

// Sources that are dense or broken without being nested: each must end soon,
// and within a bound of memory.
func TestParse_dense(t *testing.T) {
	units := []string{"a\n", "a{}\n", "b=1\n", "@\n", "}\n", "\"\n", "'", "`", "a \"b\" {}\n", "a=\n", "a=b(\n", "é", "#\n",
		"a ", "%{if}", "/*", "locals{}\n", "locals {\na=local.a\n}\n", "variable \"a\" {}\n", "module \"a\" {}\n", "\\", "\r", ";",
		"module a { env={A=x.y} }\n"}

	inPipeline := []string{"a=1\n", "a{}\n", "module a{}\n", "variable a{}\n", "locals{}\n", "tags=[f(1)]\n", "env={A=1}\n",
		"workspace{}\n", "module a{script=a.b}\n", "module a{depends_on=[b]}\n", "module a{requires={a=1}}\n"}
	inEnv := []string{"A=1,", "A=a,", "A=f(1),", "A=module.b.c,", "\"${1}\"=1,", "A=\"${local.x}\","}
	type source struct{ name, text string }

	var sources []source
	const size = 250 << 10
	for _, u := range units {
		sources = append(sources, source{u, strings.Repeat(u, size/len(u))})
	}
	for _, u := range inPipeline {
		sources = append(sources, source{"pipeline " + u, "pipeline \"p\" {\n" + strings.Repeat(u, size/len(u)) + "}\n"})
	}
	for _, u := range inEnv {
		sources = append(sources, source{"env " + u, "pipeline \"p\" {\nmodule m {\nscript=\"a\"\nenv = {" + strings.Repeat(u, size/len(u)) + "}\n}\n}\n"})
	}

	if raceFactor > 1 {
		sources = sources[:4]
	}

	for _, s := range sources {
		t.Run(fmt.Sprintf("%q", s.name), func(t *testing.T) {
			t.Parallel()
			got := probeSource(t, []byte(s.text))
			t.Logf("prescan %v %d MiB, parse %v %d MiB: %s", got.PrescanTime, got.PrescanMemory>>20, got.ParseTime, got.ParseMemory>>20, first(got.Parse))
			if len(got.Parse) == 0 || len(got.Parse) > 101 {
				t.Errorf("%d mistakes", len(got.Parse))
			}
			if got.ParseMemory > raceFactor*192<<20 || got.PrescanTime+got.ParseTime > 4*time.Second*raceFactor {
				t.Errorf("it took %v of the processor and %d MiB", got.PrescanTime+got.ParseTime, got.ParseMemory>>20)
			}
		})
	}
}
