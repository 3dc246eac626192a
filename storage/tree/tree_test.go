package tree_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

// file makes an entry of a file with some content.
func file(path, content string) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Mode: 0o644, Size: int64(len(content)), Digest: blob.DigestOf([]byte(content))}
}

func link(path, target string) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Mode: 0o777, Link: target}
}

func directory(path string) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Mode: 0o755, Dir: true}
}

func paths(t tree.Tree) []string {
	list := []string{}
	for _, e := range t {
		list = append(list, e.Path)
	}
	return list
}

func TestTree_roundTrip(t *testing.T) {
	trees := []tree.Tree{
		nil,
		{file("a", "x")},
		{directory("a"), file("a-b", ""), file("b/c/d", "y"), link("b/c/e", "../../a-b"), link("b/f", "c/d"), file(`back\slash "quote" <&>`+"\n\u2028", "z")},
	}
	for _, want := range trees {
		blob, err := tree.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tree.Decode(blob)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) || len(want) > 0 && !cmp.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		again, err := tree.Encode(got)
		if err != nil || string(again) != string(blob) {
			t.Errorf("encoded again: %s, %v, want %s", again, err, blob)
		}
	}
}

func TestTree_refused(t *testing.T) {
	f := func(path string) tree.Tree { return tree.Tree{file(path, "x")} }
	with := func(change func(*pipeline.TreeEntry)) tree.Tree {
		e := file("a", "x")
		change(&e)
		return tree.Tree{e}
	}
	tests := map[string]struct {
		files tree.Tree
		want  string
	}{
		"absolute":             {f("/etc/passwd"), "not clean"},
		"up":                   {f("../x"), "not clean"},
		"up inside":            {f("a/../../x"), "not clean"},
		"dot":                  {f("./a"), "not clean"},
		"double slash":         {f("a//b"), "not clean"},
		"slash at the end":     {f("a/"), "not clean"},
		"empty":                {f(""), "empty"},
		"zero byte":            {f("a\x00b"), "zero byte"},
		"not UTF-8":            {f("a\xffb"), "UTF-8"},
		"long":                 {f(strings.Repeat("a/", 512) + "b"), "longer than 1024"},
		"long name":            {f(strings.Repeat("a", 256)), "longer than 255"},
		"deep":                 {f(strings.Repeat("a/", 64) + "b"), "more than 64"},
		"twice":                {tree.Tree{file("a", "x"), file("a", "y")}, "sorted"},
		"not sorted":           {tree.Tree{file("b", "x"), file("a", "y")}, "sorted"},
		"file and directory":   {tree.Tree{file("a", "x"), file("a-b", "x"), file("a/b", "y")}, "below"},
		"below a link":         {tree.Tree{link("a", "b"), file("a/b", "y")}, "below"},
		"empty directory full": {tree.Tree{directory("a"), file("a/b/c", "y")}, "below"},
		"link out":             {tree.Tree{link("a", "../x")}, "leaves"},
		"link out, deeper":     {tree.Tree{link("a/b", "../../x")}, "leaves"},
		"link absolute, bad":   {tree.Tree{link("a", "/etc/\x00")}, "UTF-8"},
		"below absolute":       {tree.Tree{link("a", "/etc"), file("a/b", "y")}, "below"},
		"link down and up":     {tree.Tree{link("a/b/c", "d/../x")}, "goes up after"},
		"link with zero":       {tree.Tree{link("a", "b\x00")}, "UTF-8"},
		"long link":            {tree.Tree{link("a", strings.Repeat("x/", 600))}, "longer"},
		"mode":                 {with(func(e *pipeline.TreeEntry) { e.Mode = 0o4755 }), "permission bits"},
		"no digest":            {with(func(e *pipeline.TreeEntry) { e.Digest = "" }), "digest"},
		"bad digest":           {with(func(e *pipeline.TreeEntry) { e.Digest = "sha256:" + e.Digest }), "digest"},
		"negative size":        {with(func(e *pipeline.TreeEntry) { e.Size = -1 }), "size"},
		"size without bytes":   {with(func(e *pipeline.TreeEntry) { e.Digest = pipeline.EmptyDigest }), "size"},
		"bytes without size":   {with(func(e *pipeline.TreeEntry) { e.Size = 0 }), "size"},
		"directory with bytes": {with(func(e *pipeline.TreeEntry) { e.Dir = true }), "directory"},
		"link with bytes":      {with(func(e *pipeline.TreeEntry) { e.Link = "b" }), "link"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, encErr := tree.Encode(test.files)
			raw, err := json.Marshal(test.files)
			if err != nil {
				t.Fatal(err)
			}
			_, decErr := tree.Decode(raw)
			errs := []error{encErr, decErr}
			if name == "not UTF-8" {
				errs = errs[:1] // JSON has replaced the byte by then
			}
			for _, err := range errs {
				var bad *tree.Error
				if !errors.As(err, &bad) || !strings.Contains(err.Error(), test.want) || pipeline.KindOf(err) != pipeline.Invalid {
					t.Errorf("got %v, want a *TreeError that says %q", err, test.want)
				}
			}
		})
	}
}

func TestDecodeTree_badJSON(t *testing.T) {
	good := `{"path":"a","mode":420,"size":1,"digest":"` + string(blob.DigestOf([]byte("x"))) + `"}`
	for _, text := range []string{"", "null", "{}", "[", "[" + good, "[" + good + ",]", "[" + good + "]]", "[" + good + "] x", "[null]", "[1]",
		`[{"path":"a","unknown":1}]`, strings.Repeat("[", 100000), "[" + strings.Repeat("{},", 100) + "{}]"} {
		if _, err := tree.Decode([]byte(text)); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%.40q: got %v, want an error of kind invalid", text, err)
		}
	}
}

func TestTree_helpers(t *testing.T) {
	files := tree.Tree{file("a", "x"), file("b/c", "x"), file("b/d", "yy"), link("b/e", "c"), directory("f")}
	if got := files.Digests(); len(got) != 2 || got[0] != blob.DigestOf([]byte("x")) {
		t.Errorf("digests: %v", got)
	}
	if got := files.Size(); got != 4 {
		t.Errorf("size: got %d, want 4", got)
	}
	if e := files.Find("b/d"); e == nil || e.Size != 2 || files.Find("b") != nil {
		t.Errorf("find: %v", e)
	}
	below := files.Below("mod")
	if got := paths(below); got[0] != "mod/a" || len(got) != 5 || files[0].Path != "a" {
		t.Errorf("below: %v", got)
	}
	if _, err := tree.Encode(below); err != nil {
		t.Error(err)
	}
}

func TestDirectoryOf(t *testing.T) {
	for module, want := range map[string]string{"m": "m", "m[a/b]": "m[a/b]", "m[https://x/y]": "m[https:__x_y]", "m[a/../b]": "m[a_.._b]", "m[a/./b]": "m[a_._b]"} {
		if got := tree.DirectoryOf(module); got != want || tree.CheckPath(got) != "" {
			t.Errorf("%s: got %s, want %s", module, got, want)
		}
	}
}

func TestTree_Filter(t *testing.T) {
	var files tree.Tree
	for _, p := range []string{".hidden", "cmd/a/main.go", "cmd/b.go", "cmdx/c.go", "go.mod", "go.sum", "internal/x/y/z.go", "readme.md", "src/a.c", "src/a.h", "src/sub/b.c"} {
		files = append(files, file(p, p))
	}
	tests := []struct {
		globs []string
		want  []string
	}{
		{nil, []string{}},
		{[]string{"**"}, paths(files)},
		{[]string{"."}, paths(files)},
		{[]string{"*"}, paths(files)}, // directories match, and with them what they hold
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
		{[]string{"src/**", "!**/*.h"}, []string{"src/a.c", "src/sub/b.c"}},
		{[]string{"src/**", "!src/sub", "src/sub/b.c"}, []string{"src/a.c", "src/a.h", "src/sub/b.c"}},
		{[]string{"**/*.c", "!./src/sub/"}, []string{"src/a.c"}},
		{[]string{"go.*", "!go.sum", "go.*"}, []string{"go.mod", "go.sum"}},
		{[]string{"go.*", "!**"}, []string{}},
		{[]string{"!**", "go.mod"}, []string{"go.mod"}},
		{[]string{"!go.mod"}, []string{}},
	}
	for _, test := range tests {
		if got := paths(files.Filter(test.globs)); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %v, want %v", test.globs, got, test.want)
		}
	}
}

// The last of the globs that match a path or a directory above it decides, whatever order
// the paths come in; and a directory that is left out can be left out with all that is in
// it, unless MayTakeBack says otherwise.
func TestFilter_naive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	parts := []string{"a", "b", "ab", "!a", "c.x"}
	globParts := append([]string{"*", "**", "?", "a*", `\!a`, "{a,b}", "[!b]"}, parts...)
	draw := func(from []string, most int) string {
		list := make([]string, 1+rng.IntN(most))
		for i := range list {
			list[i] = from[rng.IntN(len(from))]
		}
		return strings.Join(list, "/")
	}
	takenBack := 0
	for range 5000 {
		var globs []string
		for range 1 + rng.IntN(5) {
			sign := ""
			if rng.IntN(2) == 0 {
				sign = "!"
			}
			globs = append(globs, sign+"./"+draw(globParts, 3))
		}
		naive := func(path string) bool {
			for i := len(globs) - 1; i >= 0; i-- {
				glob, negated := strings.CutPrefix(globs[i], "!")
				for p := path; p != ""; p = tree.Parent(p) {
					if ok, _ := doublestar.Match(tree.CleanGlob(glob), p); ok {
						return !negated
					}
				}
			}
			return false
		}

		f := tree.NewFilter(globs)
		for range 20 {
			path := draw(parts, 4)
			want := naive(path)
			if got := f.Matches(path); got != want {
				t.Fatalf("%q of %q: got %t, want %t", path, globs, got, want)
			}
			for dir := tree.Parent(path); dir != "" && !want; dir = tree.Parent(dir) {
				if !naive(dir) {
					continue
				}
				takenBack++
				if !f.MayTakeBack(dir) {
					t.Fatalf("%q of %q is not taken, and %q would be left out with all that is in it", path, globs, dir)
				}
			}
		}
	}
	if takenBack < 100 {
		t.Errorf("only %d paths were taken back", takenBack)
	}
	if f := tree.NewFilter([]string{"**", "!src/*.go"}); f.MayTakeBack("doc") || !f.MayTakeBack("src") {
		t.Error("a directory that no negated glob names is not left out as a whole")
	}
}

func TestValidGlob(t *testing.T) {
	for _, g := range []string{"a", "a/**", "**", "*.{c,h}", "[a-z]?", `\*`, "a..b"} {
		if err := tree.ValidGlob(g); err != nil {
			t.Errorf("%q: %v", g, err)
		}
	}
	for _, g := range []string{"", "/a", "../a", "a/../b", "..", "[", "{a", `a\`} {
		if tree.ValidGlob(g) == nil {
			t.Errorf("%q: no error", g)
		}
	}
}

// FuzzDecodeTree: what is accepted can be laid out and stays in its directory.
func FuzzDecodeTree(f *testing.F) {
	for _, files := range []tree.Tree{nil, {file("a", ""), file("b/c", "x"), link("b/l", "../a"), directory("d")}, {link("l", "l"), link("m", "l/x")}} {
		blob, err := tree.Encode(files)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(blob)
	}
	f.Add([]byte(`[{"path":"a","mode":511,"link":".."},{"path":"a/x","mode":420}]`))
	outer := f.TempDir()
	blobs, err := blob.Open(filepath.Join(outer, "blobs"), blob.Options{NoSync: true, LowWater: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { blobs.Close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := tree.Decode(data)
		if err != nil {
			if pipeline.KindOf(err) != pipeline.Invalid {
				t.Fatalf("an error of kind %s: %v", pipeline.KindOf(err), err)
			}
			return
		}
		if len(files) > 100 {
			return
		}
		again, err := tree.Encode(files)
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		if twice, err := tree.Decode(again); err != nil || !cmp.Equal(files, twice) {
			t.Fatalf("decoded twice: %v, %v", twice, err)
		}
		// Files need blobs; directories and links are what could lead out.
		var shape tree.Tree
		for _, e := range files {
			if e.Digest == "" || e.Digest == pipeline.EmptyDigest {
				shape = append(shape, e)
			}
		}
		inner := filepath.Join(t.TempDir(), "inner")
		if err := os.Mkdir(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := layout.Write(t.Context(), shape, inner, blobs); err != nil {
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
