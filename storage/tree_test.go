package storage_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// file makes an entry of a file with some content.
func file(path, content string) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Mode: 0o644, Size: int64(len(content)), Digest: storage.DigestOf([]byte(content))}
}

func link(path, target string) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Mode: 0o777, Link: target}
}

func folder(path string) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Mode: 0o755, Dir: true}
}

func paths(t storage.Tree) []string {
	list := []string{}
	for _, e := range t {
		list = append(list, e.Path)
	}
	return list
}

func TestTree_roundTrip(t *testing.T) {
	trees := []storage.Tree{
		nil,
		{file("a", "x")},
		{folder("a"), file("a-b", ""), file("b/c/d", "y"), link("b/c/e", "../../a-b"), link("b/f", "c/d"), file(`back\slash "quote" <&>`+"\n\u2028", "z")},
	}
	for _, want := range trees {
		blob, err := storage.EncodeTree(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := storage.DecodeTree(blob)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) || len(want) > 0 && !cmp.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		again, err := storage.EncodeTree(got)
		if err != nil || string(again) != string(blob) {
			t.Errorf("encoded again: %s, %v, want %s", again, err, blob)
		}
	}
}

func TestTree_refused(t *testing.T) {
	f := func(path string) storage.Tree { return storage.Tree{file(path, "x")} }
	with := func(change func(*pipeline.TreeEntry)) storage.Tree {
		e := file("a", "x")
		change(&e)
		return storage.Tree{e}
	}
	tests := map[string]struct {
		tree storage.Tree
		want string
	}{
		"absolute":           {f("/etc/passwd"), "not clean"},
		"up":                 {f("../x"), "not clean"},
		"up inside":          {f("a/../../x"), "not clean"},
		"dot":                {f("./a"), "not clean"},
		"double slash":       {f("a//b"), "not clean"},
		"slash at the end":   {f("a/"), "not clean"},
		"empty":              {f(""), "empty"},
		"zero byte":          {f("a\x00b"), "zero byte"},
		"not UTF-8":          {f("a\xffb"), "UTF-8"},
		"long":               {f(strings.Repeat("a/", 512) + "b"), "longer than 1024"},
		"long name":          {f(strings.Repeat("a", 256)), "longer than 255"},
		"deep":               {f(strings.Repeat("a/", 64) + "b"), "more than 64"},
		"twice":              {storage.Tree{file("a", "x"), file("a", "y")}, "sorted"},
		"not sorted":         {storage.Tree{file("b", "x"), file("a", "y")}, "sorted"},
		"file and folder":    {storage.Tree{file("a", "x"), file("a-b", "x"), file("a/b", "y")}, "below"},
		"below a link":       {storage.Tree{link("a", "b"), file("a/b", "y")}, "below"},
		"empty folder full":  {storage.Tree{folder("a"), file("a/b/c", "y")}, "below"},
		"link out":           {storage.Tree{link("a", "../x")}, "leaves"},
		"link out, deeper":   {storage.Tree{link("a/b", "../../x")}, "leaves"},
		"link absolute":      {storage.Tree{link("a", "/etc")}, "absolute"},
		"link down and up":   {storage.Tree{link("a/b/c", "d/../x")}, "goes up after"},
		"link with zero":     {storage.Tree{link("a", "b\x00")}, "UTF-8"},
		"long link":          {storage.Tree{link("a", strings.Repeat("x/", 600))}, "longer"},
		"mode":               {with(func(e *pipeline.TreeEntry) { e.Mode = 0o4755 }), "permission bits"},
		"no digest":          {with(func(e *pipeline.TreeEntry) { e.Digest = "" }), "digest"},
		"bad digest":         {with(func(e *pipeline.TreeEntry) { e.Digest = "sha256:" + e.Digest }), "digest"},
		"negative size":      {with(func(e *pipeline.TreeEntry) { e.Size = -1 }), "size"},
		"size without bytes": {with(func(e *pipeline.TreeEntry) { e.Digest = pipeline.EmptyDigest }), "size"},
		"bytes without size": {with(func(e *pipeline.TreeEntry) { e.Size = 0 }), "size"},
		"folder with bytes":  {with(func(e *pipeline.TreeEntry) { e.Dir = true }), "folder"},
		"link with bytes":    {with(func(e *pipeline.TreeEntry) { e.Link = "b" }), "link"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, encErr := storage.EncodeTree(test.tree)
			raw, err := json.Marshal(test.tree)
			if err != nil {
				t.Fatal(err)
			}
			_, decErr := storage.DecodeTree(raw)
			errs := []error{encErr, decErr}
			if name == "not UTF-8" {
				errs = errs[:1] // JSON has replaced the byte by then
			}
			for _, err := range errs {
				var bad *storage.TreeError
				if !errors.As(err, &bad) || !strings.Contains(err.Error(), test.want) || pipeline.KindOf(err) != pipeline.Invalid {
					t.Errorf("got %v, want a *TreeError that says %q", err, test.want)
				}
			}
		})
	}
}

func TestDecodeTree_badJSON(t *testing.T) {
	good := `{"path":"a","mode":420,"size":1,"digest":"` + string(storage.DigestOf([]byte("x"))) + `"}`
	for _, text := range []string{"", "null", "{}", "[", "[" + good, "[" + good + ",]", "[" + good + "]]", "[" + good + "] x", "[null]", "[1]",
		`[{"path":"a","unknown":1}]`, strings.Repeat("[", 100000), "[" + strings.Repeat("{},", 100) + "{}]"} {
		if _, err := storage.DecodeTree([]byte(text)); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%.40q: got %v, want an error of kind invalid", text, err)
		}
	}
}

func TestTree_helpers(t *testing.T) {
	tree := storage.Tree{file("a", "x"), file("b/c", "x"), file("b/d", "yy"), link("b/e", "c"), folder("f")}
	if got := tree.Digests(); len(got) != 2 || got[0] != storage.DigestOf([]byte("x")) {
		t.Errorf("digests: %v", got)
	}
	if got := tree.Size(); got != 4 {
		t.Errorf("size: got %d, want 4", got)
	}
	if e := tree.Find("b/d"); e == nil || e.Size != 2 || tree.Find("b") != nil {
		t.Errorf("find: %v", e)
	}
	below := tree.Below("mod")
	if got := paths(below); got[0] != "mod/a" || len(got) != 5 || tree[0].Path != "a" {
		t.Errorf("below: %v", got)
	}
	if _, err := storage.EncodeTree(below); err != nil {
		t.Error(err)
	}
}

func TestTree_Filter(t *testing.T) {
	var tree storage.Tree
	for _, p := range []string{".hidden", "cmd/a/main.go", "cmd/b.go", "cmdx/c.go", "go.mod", "go.sum", "internal/x/y/z.go", "readme.md", "src/a.c", "src/a.h", "src/sub/b.c"} {
		tree = append(tree, file(p, p))
	}
	tests := []struct {
		globs []string
		want  []string
	}{
		{nil, []string{}},
		{[]string{"**"}, paths(tree)},
		{[]string{"."}, paths(tree)},
		{[]string{"*"}, paths(tree)}, // folders match, and with them what they hold
		{[]string{"go.*"}, []string{"go.mod", "go.sum"}},
		{[]string{"cmd/**"}, []string{"cmd/a/main.go", "cmd/b.go"}},
		{[]string{"cmd"}, []string{"cmd/a/main.go", "cmd/b.go"}},
		{[]string{"./cmd/"}, []string{"cmd/a/main.go", "cmd/b.go"}},
		{[]string{"cmd*/*.go"}, []string{"cmd/b.go", "cmdx/c.go"}},
		{[]string{"**/*.c"}, []string{"src/a.c", "src/sub/b.c"}},
		{[]string{"src/*.{c,h}"}, []string{"src/a.c", "src/a.h"}},
		{[]string{"src/[!b-z]*"}, []string{"src/a.c", "src/a.h"}},
		{[]string{"**/y"}, []string{"internal/x/y/z.go"}},
		{[]string{"nothing", "readme.md", "readme.*"}, []string{"readme.md"}},
		{[]string{"[", "../x", "/go.mod"}, []string{}},
	}
	for _, test := range tests {
		if got := paths(tree.Filter(test.globs)); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %v, want %v", test.globs, got, test.want)
		}
	}
}

func TestValidGlob(t *testing.T) {
	for _, g := range []string{"a", "a/**", "**", "*.{c,h}", "[a-z]?", `\*`, "a..b"} {
		if err := storage.ValidGlob(g); err != nil {
			t.Errorf("%q: %v", g, err)
		}
	}
	for _, g := range []string{"", "/a", "../a", "a/../b", "..", "[", "{a", `a\`} {
		if storage.ValidGlob(g) == nil {
			t.Errorf("%q: no error", g)
		}
	}
}

func TestMerge(t *testing.T) {
	type tree = storage.Tree
	exe := file("x", "1")
	exe.Mode = 0o755
	tests := map[string]struct {
		base tree
		over []tree
		want tree
		err  string
	}{
		"nothing":              {},
		"base alone":           {base: tree{file("a", "1")}, over: []tree{nil}, want: tree{file("a", "1")}},
		"over base":            {base: tree{file("a", "1"), file("b", "1")}, over: []tree{{file("a", "2")}}, want: tree{file("a", "2"), file("b", "1")}},
		"sorted":               {base: tree{file("b", "1")}, over: []tree{{file("c", "2")}, {file("a", "3")}}, want: tree{file("a", "3"), file("b", "1"), file("c", "2")}},
		"same bytes":           {over: []tree{{file("x", "1")}, {exe}}, want: tree{exe}},
		"other bytes":          {over: []tree{{file("x", "1")}, {file("x", "2")}}, err: `"x" comes from both "m0" and "m1"`},
		"file and link":        {over: []tree{{file("x", "1")}, {link("x", "y")}}, err: `"x"`},
		"file and folder":      {over: []tree{{file("x", "1")}, {file("x/y", "2")}}, err: `"x" comes from both "m0" and "m1"`},
		"folder and file":      {over: []tree{{file("x/y/z", "1")}, {file("x", "2")}}, err: `"x"`},
		"empty and full":       {over: []tree{{folder("x")}, {file("x/y", "2")}}, want: tree{file("x/y", "2")}},
		"empty twice":          {over: []tree{{folder("x")}, {folder("x")}}, want: tree{folder("x")}},
		"file over folder":     {base: tree{file("d/a", "1"), file("d/b", "1"), file("e", "1")}, over: []tree{{file("d", "2")}}, want: tree{file("d", "2"), file("e", "1")}},
		"folder over file":     {base: tree{file("d", "1")}, over: []tree{{file("d/a/b", "2")}}, want: tree{file("d/a/b", "2")}},
		"folder over link":     {base: tree{file("a/x", "1"), link("d", "a")}, over: []tree{{file("d/x", "2")}}, want: tree{file("a/x", "1"), file("d/x", "2")}},
		"file in empty folder": {base: tree{folder("d")}, over: []tree{{file("d/x", "2")}}, want: tree{file("d/x", "2")}},
		"empty over full":      {base: tree{file("d/x", "1")}, over: []tree{{folder("d")}}, want: tree{file("d/x", "1")}},
		"beside":               {base: tree{file("d-x", "1"), file("d/x", "1")}, over: []tree{{file("d/y", "2")}}, want: tree{file("d-x", "1"), file("d/x", "1"), file("d/y", "2")}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var over []storage.NamedTree
			for i, o := range test.over {
				over = append(over, storage.NamedTree{Name: fmt.Sprintf("m%d", i), Tree: o})
			}
			got, err := storage.Merge(test.base, over...)
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
			if _, err := storage.EncodeTree(got); err != nil {
				t.Errorf("the merged tree is not valid: %v", err)
			}
		})
	}
}

// Whatever is merged without an error is a valid tree.
func TestMerge_valid(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() storage.Tree {
		set := map[string]pipeline.TreeEntry{}
		for range r.IntN(5) {
			p := string("abc"[r.IntN(3)])
			for range r.IntN(3) {
				p += "/" + string("abc"[r.IntN(3)])
			}
			e := file(p, string("12"[r.IntN(2)]))
			if r.IntN(5) == 0 {
				e = folder(p)
			}
			set[p] = e
		}
		var t storage.Tree
		for _, e := range set {
			t = append(t, e)
		}
		slices.SortFunc(t, func(a, b pipeline.TreeEntry) int { return strings.Compare(a.Path, b.Path) })
		return t
	}
	tried := 0
	for range 20000 {
		a, b, c := random(), random(), random()
		for _, tree := range []storage.Tree{a, b, c} {
			if _, err := storage.EncodeTree(tree); err != nil {
				goto next
			}
		}
		if got, err := storage.Merge(a, storage.NamedTree{Name: "b", Tree: b}, storage.NamedTree{Name: "c", Tree: c}); err == nil {
			tried++
			if _, err := storage.EncodeTree(got); err != nil {
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

func TestBlobs_Tree(t *testing.T) {
	b, _ := openBlobs(t, storage.BlobOptions{NoSync: true})
	for i := range 30 {
		want := storage.Tree{file("a", fmt.Sprint(i))}
		d, err := storage.PutTree(t.Context(), b, want)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // read, then from memory
			if got, err := b.Tree(d); err != nil || !cmp.Equal(got, want) {
				t.Fatalf("got %v, %v, want %v", got, err, want)
			}
		}
	}
	d, err := b.PutBytes(t.Context(), []byte(`[{"path":"../x"}]`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Tree(d); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("a bad tree: got %v", err)
	}
}

// FuzzDecodeTree: what is accepted can be laid out and stays in its folder.
func FuzzDecodeTree(f *testing.F) {
	for _, tree := range []storage.Tree{nil, {file("a", ""), file("b/c", "x"), link("b/l", "../a"), folder("d")}, {link("l", "l"), link("m", "l/x")}} {
		blob, err := storage.EncodeTree(tree)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(blob)
	}
	f.Add([]byte(`[{"path":"a","mode":511,"link":".."},{"path":"a/x","mode":420}]`))
	outer := f.TempDir()
	blobs, err := storage.OpenBlobs(filepath.Join(outer, "blobs"), storage.BlobOptions{NoSync: true, LowWater: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { blobs.Close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := storage.DecodeTree(data)
		if err != nil {
			if pipeline.KindOf(err) != pipeline.Invalid {
				t.Fatalf("an error of kind %s: %v", pipeline.KindOf(err), err)
			}
			return
		}
		if len(tree) > 100 {
			return
		}
		again, err := storage.EncodeTree(tree)
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		if twice, err := storage.DecodeTree(again); err != nil || !cmp.Equal(tree, twice) {
			t.Fatalf("decoded twice: %v, %v", twice, err)
		}
		// Files need blobs; folders and links are what could lead out.
		var shape storage.Tree
		for _, e := range tree {
			if e.Digest == "" || e.Digest == pipeline.EmptyDigest {
				shape = append(shape, e)
			}
		}
		inner := filepath.Join(t.TempDir(), "inner")
		if err := os.Mkdir(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := storage.Layout(t.Context(), shape, inner, blobs); err != nil {
			t.Logf("layout: %v", err) // a name may be too long for this disk
			return
		}
		for _, e := range shape {
			real, err := filepath.EvalSymlinks(filepath.Join(inner, e.Path))
			if err == nil && real != inner && !strings.HasPrefix(real, inner+"/") {
				t.Fatalf("%s leads to %s", e.Path, real)
			}
		}
	})
}
