package layout_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

func TestMerge(t *testing.T) {
	type files = tree.Tree
	exe := file("x", "1")
	exe.Mode = 0o755
	tests := map[string]struct {
		base files
		over []files
		want files
		err  string
	}{
		"nothing":                 {},
		"base alone":              {base: files{file("a", "1")}, over: []files{nil}, want: files{file("a", "1")}},
		"over base":               {base: files{file("a", "1"), file("b", "1")}, over: []files{{file("a", "2")}}, want: files{file("a", "2"), file("b", "1")}},
		"sorted":                  {base: files{file("b", "1")}, over: []files{{file("c", "2")}, {file("a", "3")}}, want: files{file("a", "3"), file("b", "1"), file("c", "2")}},
		"same bytes":              {over: []files{{file("x", "1")}, {exe}}, want: files{exe}},
		"other bytes":             {over: []files{{file("x", "1")}, {file("x", "2")}}, err: `"x" comes from both "m0" and "m1"`},
		"file and link":           {over: []files{{file("x", "1")}, {link("x", "y")}}, err: `"x"`},
		"file and directory":      {over: []files{{file("x", "1")}, {file("x/y", "2")}}, err: `"x" comes from both "m0" and "m1"`},
		"directory and file":      {over: []files{{file("x/y/z", "1")}, {file("x", "2")}}, err: `"x"`},
		"empty and full":          {over: []files{{directory("x")}, {file("x/y", "2")}}, want: files{file("x/y", "2")}},
		"empty twice":             {over: []files{{directory("x")}, {directory("x")}}, want: files{directory("x")}},
		"file over directory":     {base: files{file("d/a", "1"), file("d/b", "1"), file("e", "1")}, over: []files{{file("d", "2")}}, want: files{file("d", "2"), file("e", "1")}},
		"directory over file":     {base: files{file("d", "1")}, over: []files{{file("d/a/b", "2")}}, want: files{file("d/a/b", "2")}},
		"directory over link":     {base: files{file("a/x", "1"), link("d", "a")}, over: []files{{file("d/x", "2")}}, want: files{file("a/x", "1"), file("d/x", "2")}},
		"file in empty directory": {base: files{directory("d")}, over: []files{{file("d/x", "2")}}, want: files{file("d/x", "2")}},
		"empty over full":         {base: files{file("d/x", "1")}, over: []files{{directory("d")}}, want: files{file("d/x", "1")}},
		"beside":                  {base: files{file("d-x", "1"), file("d/x", "1")}, over: []files{{file("d/y", "2")}}, want: files{file("d-x", "1"), file("d/x", "1"), file("d/y", "2")}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var over []layout.Named
			for i, o := range test.over {
				over = append(over, layout.Named{Name: fmt.Sprintf("m%d", i), Tree: o})
			}
			got, err := layout.Merge(test.base, over...)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || pipeline.KindOf(err) != pipeline.Invalid {
					t.Fatalf("got %v, want it to say %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(test.want) || len(got) > 0 && !cmp.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if _, err := tree.Encode(got); err != nil {
				t.Errorf("the merged tree is not valid: %v", err)
			}
		})
	}
}

// Whatever is merged without an error is a valid tree.
func TestMerge_valid(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() tree.Tree {
		set := map[string]pipeline.TreeEntry{}
		for range r.IntN(5) {
			p := string("abc"[r.IntN(3)])
			for range r.IntN(3) {
				p += "/" + string("abc"[r.IntN(3)])
			}
			e := file(p, string("12"[r.IntN(2)]))
			if r.IntN(5) == 0 {
				e = directory(p)
			}
			set[p] = e
		}
		var t tree.Tree
		for _, e := range set {
			t = append(t, e)
		}
		slices.SortFunc(t, func(a, b pipeline.TreeEntry) int { return strings.Compare(a.Path, b.Path) })
		return t
	}
	tried := 0
	for range 20000 {
		a, b, c := random(), random(), random()
		for _, files := range []tree.Tree{a, b, c} {
			if _, err := tree.Encode(files); err != nil {
				goto next
			}
		}
		if got, err := layout.Merge(a, layout.Named{Name: "b", Tree: b}, layout.Named{Name: "c", Tree: c}); err == nil {
			tried++
			if _, err := tree.Encode(got); err != nil {
				t.Fatalf("merge of %v, %v, %v is not valid: %v", a, b, c, err)
			}
			for _, e := range slices.Concat(b, c) {
				if !e.Dir && got.Find(e.Path) == nil {
					t.Fatalf("merge of %v, %v, %v lost %s", a, b, c, e.Path)
				}
			}
		}
	next:
	}
	if tried < 1000 {
		t.Errorf("only %d merges were tried", tried)
	}
}
