package service

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

const sourceText = `pipeline "p" {
  variable "who" { default = "me" }
  locals { greeting = "hello ${var.who}" }
  template "t" { timeout = "1m" }
  module "a" {
    use     = template.t
    matrix  = { os = ["linux", "plan9"] }
    command = ["echo", local.greeting, matrix.os]
  }
  module "b" {
    depends_on = [module.a]
    env        = { RUN = run.id }
    command    = ["echo", "%s"]
  }
}`

// compiledAs compiles a file for a user.
func compiledAs(t *testing.T, f *language.File, who string) *pipeline.Pipeline {
	t.Helper()
	p, diags := f.Compile(t.Context(), language.Inputs{RunID: who, Variables: []language.VariableInput{{Name: "who", Text: who, Origin: "test"}}})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	return p
}

// A file that is kept compiles as a fresh one does, for many at once and with
// other inputs each time.
func TestParseCache_sharedFileCompilesAsAFreshOne(t *testing.T) {
	var kept parseCache
	defer kept.clear()
	text := fmt.Sprintf(sourceText, "x")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			who := fmt.Sprintf("user%d", i)
			shared, diags := kept.parse("p.hcl", text, nil)
			if len(diags) > 0 {
				t.Error(diags)
				return
			}
			fresh, _ := language.Parse("p.hcl", []byte(text))
			if diff := cmp.Diff(compiledAs(t, fresh, who), compiledAs(t, shared, who)); diff != "" {
				t.Error(diff)
			}
		})
	}
	wg.Wait()
	one, _ := kept.parse("p.hcl", text, nil)
	if again, _ := kept.parse("p.hcl", text, nil); again != one {
		t.Error("the file was parsed again")
	}
	if other, _ := kept.parse("q.hcl", text, nil); other == one || other.FileName() != "q.hcl" {
		t.Error("a file of another name was taken for this one")
	}

	importing := strings.Replace(text, "{\n", "{\n  imports = [\"lib.hcl\"]\n", 1)
	lib, diags := kept.parse("p.hcl", importing, map[string]string{"lib.hcl": "locals {\n x = 1\n}"})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if other, _ := kept.parse("p.hcl", importing, map[string]string{"lib.hcl": "locals {\n x = 2\n}"}); other == lib {
		t.Error("a file with another import was taken for this one")
	}
}

// No more are kept than there is room for, and mistakes not at all.
func TestParseCache_bounds(t *testing.T) {
	var kept parseCache
	defer kept.clear()
	parse := func(i int) *language.File {
		f, diags := kept.parse("p.hcl", fmt.Sprintf(sourceText, fmt.Sprint(i)), nil)
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		return f
	}
	first, second := parse(0), parse(1)
	for i := range parseCacheSize - 1 { // the first is asked for again and again
		parse(i + 2)
		if parse(0) != first {
			t.Fatalf("the one in use went when number %d came", i+2)
		}
	}
	if parse(1) == second {
		t.Error("the one that was not asked for stayed")
	}
	if n := len(kept.entries); n != parseCacheSize {
		t.Errorf("%d files are kept", n)
	}
	if _, diags := kept.parse("p.hcl", "pipeline {", nil); len(diags) == 0 {
		t.Error("a mistake was not found")
	}
	if n := len(kept.entries); n != parseCacheSize {
		t.Errorf("%d files are kept after a mistake", n)
	}
	kept.clear()
	if parse(0) == first {
		t.Error("a file outlived clear")
	}
}

// What is kept is bounded by the length of the sources, not by their number alone.
func TestParseCache_bytes(t *testing.T) {
	var kept parseCache
	defer kept.clear()
	source := func(i, n int) string {
		text := fmt.Sprintf("pipeline \"p%d\" {\n module \"m\" {\n  command = [\"true\"]\n }\n}\n#", i)
		return text + strings.Repeat("x", n-len(text)-1) + "\n"
	}
	for i := range 4 {
		if _, diags := kept.parse("p.hcl", source(i, parseCacheBytes/2), nil); len(diags) > 0 {
			t.Fatal(diags)
		}
	}
	if len(kept.entries) != 2 || kept.bytes != parseCacheBytes {
		t.Errorf("%d sources of %d bytes are kept, want 2 of %d", len(kept.entries), kept.bytes, parseCacheBytes)
	}

	if _, diags := kept.parse("p.hcl", source(9, parseCacheBytes+1), nil); len(diags) > 0 {
		t.Fatal(diags)
	}
	if len(kept.entries) != 2 {
		t.Error("a source that does not fit has evicted others")
	}
	kept.clear()
	if kept.bytes != 0 {
		t.Errorf("%d bytes are counted after all went", kept.bytes)
	}
}

// Many that run the same child at once have one file of it, which is not that of a
// submission with the same text.
func TestParseCache_child(t *testing.T) {
	var kept parseCache
	defer kept.clear()
	def := &pipeline.Pipeline{Sources: map[string]string{"lib/c.hcl": "pipeline \"c\" {\n  imports = [\"../../d.hcl\"]\n  module \"m\" { command = [\"true\"] }\n}", "../d.hcl": "locals { x = 1 }"}}
	m := &pipeline.Module{Name: "m", Child: &pipeline.Child{File: "lib/c.hcl"}}
	var wg sync.WaitGroup
	files := make([]*language.File, 8)
	for i := range files {
		wg.Go(func() {
			var err error
			if files[i], err = kept.parseChild(t.Context(), def, m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, f := range files {
		if f != files[0] {
			t.Error("parsed more than once")
		}
	}
	if _, diags := kept.parse("lib/c.hcl", "", def.Sources); len(diags) == 0 {
		t.Error("an empty submission has the file of the child")
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	def.Sources["lib/c.hcl"] += "\n"
	if _, err := kept.parseChild(ended, def, m); pipeline.KindOf(err) != pipeline.Canceled {
		t.Errorf("after the term: %v", err)
	}
}
