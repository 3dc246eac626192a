package workspace_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/workspace"
)

// gitIn runs git in a directory, apart from the settings of the user who runs the test.
func gitIn(tb testing.TB, dir string, args ...string) string {
	tb.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+tb.TempDir(), "XDG_CONFIG_HOME=", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b", "GIT_CEILING_DIRECTORIES="+os.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// gitFiles lists what git takes for the files of a working copy, sorted.
func gitFiles(tb testing.TB, dir string) []string {
	tb.Helper()
	list := strings.Split(gitIn(tb, dir, "ls-files", "-z", "-co", "--exclude-standard"), "\x00")
	list = slices.DeleteFunc(list, func(p string) bool { return p == "" })
	slices.Sort(list)
	return slices.Compact(list)
}

// snapshotFiles lists the files of a snapshot, without empty directories.
func snapshotFiles(tb testing.TB, dir string, opts workspace.Options) []string {
	tb.Helper()
	b, _ := openBlobs(tb, blob.Options{NoSync: true})
	tree, err := workspace.Snapshot(tb.Context(), dir, b, opts)
	if err != nil {
		tb.Fatal(err)
	}
	list := []string{}
	for _, e := range tree {
		if !e.Dir {
			list = append(list, e.Path)
		}
	}
	return list
}

// needGit skips where there is nothing to compare with.
func needGit(tb testing.TB) {
	tb.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		tb.Skip("needs git, to compare with")
	}
}

// ignoreCases are rules with the files that they are tried on.
var ignoreCases = map[string]map[string]string{
	"names and suffixes": {".gitignore": "*.o\nbuild\n!keep.o\n", "a.o": "", "keep.o": "", "d/b.o": "", "d/keep.o": "", "build/x": "", "d/build/y": "", "builder": "", "x/build": ""},
	"directories only":   {".gitignore": "out/\n", "out/a": "", "d/out/a": "", "e/out": "", "outer/a": ""},
	"anchored":           {".gitignore": "/top\n/a/b\nc/d\n", "top": "", "x/top": "", "a/b": "", "x/a/b": "", "c/d": "", "x/c/d": ""},
	"nested":             {".gitignore": "*.log\n", "d/.gitignore": "!keep.log\n/only\n", "a.log": "", "d/b.log": "", "d/keep.log": "", "d/e/keep.log": "", "d/only": "", "d/e/only": "", "only": ""},
	"parent wins":        {".gitignore": "d/\n!d/keep\n", "d/keep": "", "d/.gitignore": "!keep\n", "e": ""},
	"contents not dir":   {".gitignore": "d/*\n!d/keep\n", "d/keep": "", "d/other": "", "d/sub/keep": ""},
	"double star":        {".gitignore": "**/foo\nabc/**\na/**/z\n**x\n", "foo": "", "d/foo/x": "", "abc/d/e": "", "abcd": "", "a/z": "", "a/b/z": "", "a/b/c/z": "", "a/zz": "", "yx": "", "d/yx": "", "abc2/foo2": ""},
	"double star inside": {".gitignore": "a**b\nd/e**f\n", "axxb": "", "a/b": "", "d/exxf": "", "d/e/f": "", "ab": ""},
	"only star":          {".gitignore": "*\n!*/\n!*.c\n", "a": "", "a.c": "", "d/b": "", "d/b.c": ""},
	"question mark":      {".gitignore": "?.x\na?b\n", "1.x": "", "12.x": "", "a/b": "", "a-b": ""},
	"classes":            {".gitignore": "[a-c].x\n[!d]?.y\n[^e]z\n[[:digit:]]*.w\n[]].v\n[a-].u\n[\\]].t\n", "a.x": "", "d.x": "", "d1.y": "", "e1.y": "", "ez": "", "fz": "", "1a.w": "", "a1.w": "", "].v": "", "-.u": "", "].t": ""},
	"broken class":       {".gitignore": "[a\n[[:nope:]]\nx\\\n", "[a": "", "a": "", "n": "", "x": "", "x\\": ""},
	"escapes":            {".gitignore": "\\#a\n\\!b\n\\*c\nd\\ \n e\nf   \n", "#a": "", "!b": "", "*c": "", "xc": "", "d ": "", "d": "", " e": "", "e": "", "f": "", "f   ": ""},
	"comments":           {".gitignore": "# x\n\n   \n#y\n", "x": "", "# x": "", "#y": ""},
	"CRLF and BOM":       {".gitignore": "\ufeffa\r\nb\r\n", "a": "", "b": "", "c": ""},
	"no newline":         {".gitignore": "a\nb", "a": "", "b": "", "c": ""},
	"odd patterns":       {".gitignore": "/\n!\n//\n./a\nb//c\n!/\n../d\n", "a": "", "b/c": "", "d": ""},
	"slash star":         {".gitignore": "/*\n!/d\n/d/*\n!/d/e\n", "a": "", "d/e/f": "", "d/g": "", "h/i": ""},
	"case":               {".gitignore": "Foo\n", "foo": "", "Foo": "", "FOO": ""},
	"trailing star":      {".gitignore": "d/**/\ne/**\n!e/k\n", "d/a": "", "d/b/c": "", "e/k": "", "e/l/m": ""},
	"unicode":            {".gitignore": "ü*\n?b\n", "über": "", "uber": "", "éb": "", "xb": ""},
	"stars in a name":    {".gitignore": "a**/b\nd/c**/*.x\n", "ab": "", "a/b": "", "ax/b": "", "ax/y/b": "", "d/c.x": "", "d/cy/z.x": "", "d/y.x": ""},
	"many stars":         {".gitignore": "a*a*a*a*a*a*b\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaab": "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaac": ""},
	"link":               {".gitignore": "l/\nm\n", "t/a": "", "l": "->t", "m": "->t", "n": "->t"},
	"gitignore ignored":  {".gitignore": ".gitignore\nx\n", "x": "", "y": ""},
	"info exclude":       {".git/info/exclude": "secret\n*.bak\n", ".gitignore": "!keep.bak\n", "secret": "", "a.bak": "", "keep.bak": ""},
}

// likeGit takes a snapshot of a work tree with git's help, and without it as of
// any directory.
func likeGit(tb testing.TB, dir string, want []string) {
	tb.Helper()
	if got := snapshotFiles(tb, dir, workspace.Options{}); !slices.Equal(got, want) {
		tb.Errorf("with git:\ngot  %q\nwant %q", got, want)
	}
	if info, err := os.Stat(filepath.Join(dir, ".git", "info", "exclude")); err == nil && info.Size() < 100 {
		return // rules that only git knows
	}

	hidden := filepath.Join(tb.TempDir(), "git")
	if err := os.Rename(filepath.Join(dir, ".git"), hidden); err != nil {
		tb.Fatal(err)
	}
	if got := snapshotFiles(tb, dir, workspace.Options{}); !slices.Equal(got, want) {
		tb.Errorf("without git:\ngot  %q\nwant %q", got, want)
	}
}

func TestSnapshot_ignoresLikeGit(t *testing.T) {
	needGit(t)
	for name, files := range ignoreCases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			gitIn(t, dir, "init", "-q")
			testutil.WriteFiles(t, dir, files)
			want := gitFiles(t, dir)
			likeGit(t, dir, want)
		})
	}
}

func TestSnapshot_trackedIsNeverIgnored(t *testing.T) {
	needGit(t)
	files := map[string]string{".gitignore": "bin/\n*.gen\n", "bin/tool": "", "bin/other": "", "bin/deep/er": "", "a.gen": "", "b.gen": "", "src/x": "", "src/y.gen": "", "bin/d2/z": ""}
	tracked := []string{"bin/tool", "bin/deep/er", "a.gen", "src/x", ".gitignore"}
	for name, prepare := range map[string]func(t *testing.T, dir string){
		"version 2":   func(t *testing.T, dir string) { gitIn(t, dir, "update-index", "--index-version", "2") },
		"version 4":   func(t *testing.T, dir string) { gitIn(t, dir, "update-index", "--index-version", "4") },
		"version 3":   func(t *testing.T, dir string) { gitIn(t, dir, "add", "-N", "-f", "src/y.gen") },
		"split index": func(t *testing.T, dir string) { gitIn(t, dir, "update-index", "--split-index") },
		"committed":   func(t *testing.T, dir string) { gitIn(t, dir, "commit", "-q", "-m", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			gitIn(t, dir, "init", "-q")
			testutil.WriteFiles(t, dir, files)
			gitIn(t, dir, append([]string{"add", "-f"}, tracked...)...)
			prepare(t, dir)
			want := gitFiles(t, dir)
			if got := snapshotFiles(t, dir, workspace.Options{}); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			// A workspace that is a part of the repository.
			want = gitFiles(t, filepath.Join(dir, "bin"))
			if got := snapshotFiles(t, filepath.Join(dir, "bin"), workspace.Options{}); !slices.Contains(got, "tool") {
				t.Errorf("below the root: got %q, want at least %q", got, want)
			}
		})
	}
}

func TestSnapshot_partOfRepository(t *testing.T) {
	needGit(t)
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q")
	testutil.WriteFiles(t, dir, map[string]string{".gitignore": "*.o\n/pkg/sub/x\n/x\npkg/sub/only\n", "pkg/.gitignore": "!keep.o\ngone\n", "pkg/sub/a.o": "", "pkg/sub/keep.o": "",
		"pkg/sub/x": "", "pkg/sub/d/x": "", "pkg/sub/gone": "", "pkg/sub/only": "", "pkg/sub/.gitignore": "d/y\n", "pkg/sub/d/y": "", "pkg/sub/d/z": ""})
	sub := filepath.Join(dir, "pkg", "sub")
	want := gitFiles(t, sub)
	if got := snapshotFiles(t, sub, workspace.Options{}); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestSnapshot_worktreeAndNestedRepository(t *testing.T) {
	needGit(t)
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q")
	testutil.WriteFiles(t, dir, map[string]string{".gitignore": "*.o\n", "a.o": "", "b.o": "", "c": ""})
	gitIn(t, dir, "add", "-f", "b.o", "c", ".gitignore")
	gitIn(t, dir, "commit", "-q", "-m", "x")
	tree := filepath.Join(t.TempDir(), "tree")
	gitIn(t, dir, "worktree", "add", "-q", tree)
	testutil.WriteFiles(t, tree, map[string]string{"d.o": "", "e": ""})
	if got, want := snapshotFiles(t, tree, workspace.Options{}), gitFiles(t, tree); !slices.Equal(got, want) {
		t.Errorf("worktree: got %q, want %q", got, want)
	}
	// A repository in a repository goes by its own rules.
	nested := filepath.Join(dir, "third", "party")
	testutil.WriteFiles(t, nested, map[string]string{".gitignore": "*.x\n", "f.o": "", "g.x": "", "h": ""})
	gitIn(t, nested, "init", "-q")
	got := snapshotFiles(t, dir, workspace.Options{})
	want := []string{".gitignore", "b.o", "c", "third/party/.gitignore", "third/party/f.o", "third/party/h"}
	if !slices.Equal(got, want) {
		t.Errorf("nested: got %q, want %q", got, want)
	}
}

func TestSnapshot_ignoredRoot(t *testing.T) {
	needGit(t)
	dir := t.TempDir()
	gitIn(t, dir, "init", "-q")
	testutil.WriteFiles(t, dir, map[string]string{".gitignore": "*\n", "tmp/a": "", "tmp/b": ""})
	if got, want := snapshotFiles(t, filepath.Join(dir, "tmp"), workspace.Options{}), []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("a workspace in an ignored directory: got %q, want %q", got, want)
	}
}

// Random rules over random files, judged by git.
func TestSnapshot_randomRulesLikeGit(t *testing.T) {
	needGit(t)
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	pattern := func() string {
		p := pick("", "", "", "!") + pick("", "", "/", "**/")
		for i := range 1 + r.IntN(3) {
			if i > 0 {
				p += "/"
			}
			p += pick("a", "b", "c", "a", "b", "*", "**", "a*", "*b", "?", "[ab]", "[!a]", "ab", "*.x", "a**", "***")
		}
		return p + pick("", "", "/", "/**", " ")
	}
	names := []string{"a", "b", "c", "ab", "a.x"}
	for round := range 40 {
		dir := t.TempDir()
		gitIn(t, dir, "init", "-q")
		files := map[string]string{}
		var dirs []string
		for range 40 {
			p := names[r.IntN(len(names))]
			for range r.IntN(4) {
				p += "/" + names[r.IntN(len(names))]
			}
			clash := slices.ContainsFunc(dirs, func(d string) bool { return d == p })
			for q := range files {
				clash = clash || strings.HasPrefix(p, q+"/")
			}
			if clash {
				continue
			}
			files[p] = ""
			for d := filepath.Dir(p); d != "."; d = filepath.Dir(d) {
				dirs = append(dirs, d)
			}
		}
		rules := func() string {
			text := ""
			for range 1 + r.IntN(5) {
				text += pattern() + "\n"
			}
			return text
		}
		files[".gitignore"] = rules()
		if len(dirs) > 0 {
			files[dirs[r.IntN(len(dirs))]+"/.gitignore"] = rules()
		}
		testutil.WriteFiles(t, dir, files)
		likeGit(t, dir, gitFiles(t, dir))
		if t.Failed() {
			for p, rules := range files {
				if strings.HasSuffix(p, ".gitignore") {
					t.Logf("round %d: %s: %q", round, p, rules)
				}
			}

			return
		}
	}
}
