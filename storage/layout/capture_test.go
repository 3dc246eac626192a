package layout_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/blob/blobtest"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

func TestCapture(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{"bin/app": "x", "bin/sub/deep": "y", "bin/lib.so.1": "so", "bin/lib.so": "->lib.so.1", "report.json": "{}", "a.txt": "1", "src/b.txt": "2",
		"src/c/d.txt": "3", ".dot/x": "4", "latest": "->bin/app", "cur": "->bin", "cur2": "->src", "dangling": "->nowhere"})
	if err := os.Mkdir(filepath.Join(dir, "void"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "bin/app"), 0o755); err != nil {
		t.Fatal(err)
	}
	b, _ := blobtest.New(t, blob.Options{})
	tests := map[string]struct {
		required, optional []string
		want, missing      []string
	}{
		"nothing":             {},
		"directory":           {required: []string{"bin"}, want: []string{"bin/app", "bin/lib.so", "bin/lib.so.1", "bin/sub/deep"}},
		"in directory":        {required: []string{"bin/*"}, want: []string{"bin/app", "bin/lib.so", "bin/lib.so.1", "bin/sub/deep"}},
		"all below":           {required: []string{"./bin/**/"}, want: []string{"bin/app", "bin/lib.so", "bin/lib.so.1", "bin/sub/deep"}},
		"one file":            {required: []string{"report.json"}, want: []string{"report.json"}},
		"suffix at the top":   {required: []string{"*.txt"}, want: []string{"a.txt"}},
		"suffix everywhere":   {required: []string{"**/*.txt"}, want: []string{"a.txt", "src/b.txt", "src/c/d.txt"}},
		"braces":              {required: []string{"{a,src/*}.txt"}, want: []string{"a.txt", "src/b.txt"}},
		"empty directory":     {required: []string{"void"}, want: []string{"void"}},
		"hidden":              {required: []string{".*"}, want: []string{".dot/x"}},
		"missing":             {required: []string{"no/**", "report.json", "*.none", "a.txt/x", "a.txt/*"}, want: []string{"report.json"}, missing: []string{"no/**", "*.none", "a.txt/x", "a.txt/*"}},
		"optional":            {optional: []string{"nothing*", "a.txt"}, want: []string{"a.txt"}},
		"twice":               {required: []string{"bin/app", "bin/a*"}, optional: []string{"bin/app"}, want: []string{"bin/app"}},
		"link and target":     {required: []string{"bin/lib*"}, want: []string{"bin/lib.so", "bin/lib.so.1"}},
		"link alone":          {required: []string{"latest"}, want: []string{"latest"}},
		"link to captured":    {required: []string{"cur", "bin/app"}, want: []string{"bin/app", "cur"}},
		"through a link":      {required: []string{"cur/app"}, want: []string{"cur/app"}},
		"glob through link":   {required: []string{"cur/*.1"}, want: []string{"cur/lib.so.1"}},
		"link and through":    {required: []string{"cur", "cur/app", "bin/app"}, want: []string{"bin/app", "cur"}},
		"dangling":            {required: []string{"dangling"}, want: []string{"dangling"}},
		"taken away":          {required: []string{"bin", "!bin/sub", "src/**", "!**/d.txt"}, want: []string{"bin/app", "bin/lib.so", "bin/lib.so.1", "src/b.txt"}},
		"taken back":          {required: []string{"**", "!bin/**", "!src", "bin/sub/deep", "!latest", "!cur*"}, want: []string{".dot/x", "a.txt", "bin/sub/deep", "dangling", "report.json", "void"}},
		"nothing left":        {required: []string{"bin/**", "a.txt", "void", "*.json", "!bin/*", "!a.txt", "!void"}, want: []string{"report.json"}, missing: []string{"bin/**", "a.txt", "void"}},
		"each list by itself": {required: []string{"bin/*", "!bin/app"}, optional: []string{"bin/app", "src", "!src"}, want: []string{"bin/app", "bin/lib.so", "bin/lib.so.1", "bin/sub/deep"}},
		"outputs of any dir":  {required: []string{"src/**/d.txt"}, want: []string{"src/c/d.txt"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			files, notes, err := layout.Capture(t.Context(), dir, test.required, test.optional, b)
			if err != nil {
				t.Fatal(err)
			}
			if got := paths(files); !slices.Equal(got, test.want) && len(got)+len(test.want) > 0 {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !slices.Equal(notes.Missing, test.missing) {
				t.Errorf("missing: got %q, want %q", notes.Missing, test.missing)
			}
			if _, err := tree.Encode(files); err != nil {
				t.Errorf("not a valid tree: %v", err)
			}
			if gone := b.Missing(files.Digests()); len(gone) > 0 {
				t.Errorf("%d blobs are missing", len(gone))
			}
		})
	}
	files, _, err := layout.Capture(t.Context(), dir, []string{"latest"}, nil, b)
	if err != nil || files[0].Link != "" || files[0].Digest != blob.DigestOf([]byte("x")) || files[0].Mode != 0o755 {
		t.Errorf("a link to what is no output: got %+v, %v, want the file's content", files, err)
	}
}

func TestCapture_refused(t *testing.T) {
	outside := t.TempDir()
	writeFile(t, filepath.Join(outside, "secret"), "secret", 0o600)
	dir := filepath.Join(t.TempDir(), "dir")
	testutil.WriteFiles(t, dir, map[string]string{"ok": "", "d/ok": "", "e/bad\xff": ""})
	testutil.WriteFiles(t, dir, map[string]string{"abs": "->" + outside + "/secret", "up": "->../..", "d/up": "->../../x", "dirlink": "->" + outside, "odd": "->d/../ok", "other": "->d"})
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := blobtest.New(t, blob.Options{NoSync: true})
	tests := map[string]string{
		"up": "leaves", "d": "leaves", "dirlink/secret": "leaves the module's directory",
		"dirlink/*": "leaves the module's directory", "dirlink/**": "leaves the module's directory", "odd": "goes up after", "other": "name that directory",
		"../x": "inside the directory", "/etc/passwd": "relative", "[": "bracket", "e/*": "UTF-8",
	}
	for glob, want := range tests {
		for i, lists := range [][2][]string{{{glob}, nil}, {nil, {glob}}} {
			files, _, err := layout.Capture(t.Context(), dir, lists[0], lists[1], b)
			if err == nil || !strings.Contains(err.Error(), want) || pipeline.KindOf(err) != pipeline.Invalid {
				t.Errorf("%q (%d): got %v, %v, want it to say %q", glob, i, paths(files), err, want)
			}
		}
	}
	if b.Has(blob.DigestOf([]byte("secret"))) {
		t.Error("a file outside of the directory was stored")
	}
	// A special file that no glob names is passed over.
	if err := os.MkdirAll(filepath.Join(dir, "g"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "g", "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "g", "f"), "", 0o644)
	if files, notes, err := layout.Capture(t.Context(), dir, []string{"g"}, nil, b); err != nil || len(files) != 1 || len(notes.LeftOut) > 0 {
		t.Errorf("a pipe in a directory: got %v, %v", paths(files), err)
	}
	if _, _, err := layout.Capture(t.Context(), filepath.Join(dir, "none"), []string{"x"}, nil, b); err == nil {
		t.Error("no directory: no error")
	}
}

// Absolute links stay links, whatever they lead to; one into the module's directory
// becomes relative. Special files that a glob names are left out, and said.
func TestCapture_linksOfTheMachine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	testutil.WriteFiles(t, dir, map[string]string{"v/bin/run": "x", "v/bin/python": "->/usr/bin/none", "v/etc": "->/etc", "v/lib/own": "->" + dir + "/v/bin/run", "empty": "->/"})
	if err := unix.Mkfifo(filepath.Join(dir, "v", "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := blobtest.New(t, blob.Options{NoSync: true})
	files, notes, err := layout.Capture(t.Context(), dir, []string{"v/*"}, []string{"empty"}, b)
	if err != nil || !slices.Equal(notes.LeftOut, []string{"v/pipe (a named pipe)"}) {
		t.Fatalf("left out %q, %v", notes.LeftOut, err)
	}

	got := map[string]string{}
	for _, e := range files {
		got[e.Path] = e.Link
	}
	want := map[string]string{"empty": "/", "v/bin/python": "/usr/bin/none", "v/bin/run": "", "v/etc": "/etc", "v/lib/own": "../../v/bin/run"}
	if !maps.Equal(got, want) {
		t.Errorf("captured %q, want %q", got, want)
	}

	// They are laid out as they are, and nothing is written through one.
	to := t.TempDir()
	if err := layout.Write(t.Context(), files, to, b); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(filepath.Join(to, "v/etc")); err != nil || target != "/etc" {
		t.Errorf("laid out as %q, %v", target, err)
	}
	through := tree.Tree{{Path: "v/etc/x", Digest: files[2].Digest, Size: files[2].Size, Mode: 0o644}}
	if err := layout.Write(t.Context(), through, to, b); err == nil {
		t.Error("a file was written through a link")
	}
}
