package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// banned are words that no message, help text or page may use: a reader would
// have to decode them. The terms to use are in docs/glossary.md.
var banned = regexp.MustCompile(`(?i)\b(lacking|in a circle|patience|outside workers?|for ever|goes on|for good|lets go of|is let go|` +
	`mend(s|ed|ing)?|farewell|displaced|put aside|it wants|nobody|somebody|whoever)\b`)

// unconverted are directories and pages that still use them. None does: new
// ones must not be added.
var unconverted = []string{}

// TestWords_messages checks every string literal of the program.
func TestWords_messages(t *testing.T) {
	clean := map[string]bool{}
	files := 0

	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata" || path == filepath.Join(root, "test")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}

		files++
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}

		found := bannedLiterals(t, path, rel)
		report(t, filepath.Dir(rel), clean, found)

		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("only %d files were found", files)
	}

	checkUnconverted(t, clean)
}

// TestWords_pages checks the documentation.
func TestWords_pages(t *testing.T) {
	clean := map[string]bool{}

	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		page = strings.TrimPrefix(filepath.ToSlash(page), root+"/")

		var found []string
		for i, line := range strings.Split(string(text), "\n") {
			for _, word := range banned.FindAllString(line, -1) {
				found = append(found, page+":"+strconv.Itoa(i+1)+": "+word)
			}
		}
		report(t, page, clean, found)
	}

	checkUnconverted(t, clean)
}

// report fails for what was found in a place, unless it is not converted yet, and
// notes whether it is clean.
func report(t *testing.T, place string, clean map[string]bool, found []string) {
	t.Helper()

	if before, known := clean[place]; !known || before {
		clean[place] = len(found) == 0
	}
	if slices.Contains(unconverted, place) {
		return
	}

	for _, f := range found {
		t.Errorf("%s: use the terms of docs/glossary.md", f)
	}
}

// checkUnconverted fails for places that are clean and still excused.
func checkUnconverted(t *testing.T, clean map[string]bool) {
	t.Helper()

	for _, place := range unconverted {
		if clean[place] {
			t.Errorf("%s is clean: take it out of unconverted", place)
		}
	}
}

// bannedLiterals gives the places of banned words in a file's string literals.
func bannedLiterals(t *testing.T, path, rel string) []string {
	t.Helper()

	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}

	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}

		text, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range banned.FindAllString(text, -1) {
			found = append(found, rel+":"+strconv.Itoa(set.Position(lit.Pos()).Line)+": "+word)
		}

		return true
	})

	return found
}

// TestWords_found wants the expression to find what it is for.
func TestWords_found(t *testing.T) {
	for text, want := range map[string]bool{
		"dependencies in a circle": true, "Nobody answers": true, "the fabric mends itself": true, "outside workers": true,
		"recommended": false, "amendment": false, "forever": false, "resumes": false,
	} {
		if got := banned.MatchString(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}
