package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxCell is how many words a cell of a table may have.
const maxCell = 25

// TestPages_style wants the pages to be in the form in which they are easy to read and
// to compare: one sentence in a line, no sentence over two lines, short cells.
func TestPages_style(t *testing.T) {
	for _, page := range pages(t) {
		if filepath.Base(page) == "CHANGELOG.md" { // a change is a line
			continue
		}
		src, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, mistake := range styleMistakes(string(src)) {
			t.Errorf("%s:%s", strings.TrimPrefix(page, root+"/"), mistake)
		}
	}
}

var (
	code = regexp.MustCompile("`[^`]*`")
	// inner is the end of a sentence with another one behind it.
	inner = regexp.MustCompile(`[A-Za-z0-9)\]*"][.!?]["”)*]* +(["“(*]*[A-ZX]|\[)`)
	// marker is that of an item of a list.
	marker = regexp.MustCompile(`^\s*([-*+]|\d+\.)\s+`)
	// begins is a line that begins something of its own.
	begins = regexp.MustCompile(`^(\s*([-*+]|\d+\.)\s|#|\||<|!\[|\s*$|---)`)
	// cellEnd is a bar that is not escaped.
	cellEnd = regexp.MustCompile(`[^\\]\|`)
)

// styleMistakes gives what is wrong with a page, each with its line.
func styleMistakes(page string) []string {
	var found []string
	fenced, before := false, ""
	for i, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced, before = !fenced, ""
			continue
		}
		if fenced {
			continue
		}
		bare := code.ReplaceAllString(line, "X")
		switch {
		case strings.HasPrefix(line, "|"):
			for _, cell := range cellEnd.Split(line[1:], -1) {
				if n := len(strings.Fields(cell)); n > maxCell {
					found = append(found, fmt.Sprintf("%d: a cell of %d words, at most %d are allowed: %.60s", i+1, n, maxCell, strings.TrimSpace(cell)))
				}
			}
		case strings.HasPrefix(line, "<!--"):
		default:
			if m := inner.FindString(marker.ReplaceAllString(bare, "")); m != "" && !strings.HasPrefix(line, "#") {
				found = append(found, fmt.Sprintf("%d: more than one sentence in a line: …%s…", i+1, m))
			}
			if !begins.MatchString(line) && before != "" && !begins.MatchString(before) && !ended(before) {
				found = append(found, fmt.Sprintf("%d: a sentence over two lines", i+1))
			}
		}
		before = line
	}
	return found
}

// ended reports whether a line ends a sentence.
func ended(line string) bool {
	line = strings.TrimRight(line, "\"”)*_` ")
	return strings.HasSuffix(line, ".") || strings.HasSuffix(line, ":") || strings.HasSuffix(line, "?") || strings.HasSuffix(line, "!") || strings.HasSuffix(line, "…") || strings.HasSuffix(line, ";")
}

// TestStyleMistakes wants the rules to find what they are for.
func TestStyleMistakes(t *testing.T) {
	for text, want := range map[string]int{
		"One sentence.\nAnother one.":                       0,
		"One sentence. Another one.":                        1,
		"Ends with code `x.y`. `Z` follows.":                1,
		"e.g. this, version 1.2 of it, and `a. B`.":         0,
		"A sentence that\ncontinues here.":                  1,
		"- an item\n- another\n\nText:\n\n1. first":         0,
		"```sh\necho A. B\nand\nmore\n```":                  0,
		"| " + strings.Repeat("word ", maxCell+1) + "| x |": 1,
		"| " + strings.Repeat("word ", maxCell) + "| x |":   0,
	} {
		if got := styleMistakes(text); len(got) != want {
			t.Errorf("%q: got %q, want %d", text, got, want)
		}
	}
}

// TestPages_filesNamed wants the text before a file to name it: no reader sees what follows
// a fence.
func TestPages_filesNamed(t *testing.T) {
	for _, page := range pages(t) {
		src, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, mistake := range unnamedFiles(string(src)) {
			t.Errorf("%s:%s", strings.TrimPrefix(page, root+"/"), mistake)
		}
	}
}

// unnamedFiles gives the blocks of a page that are files whose name is not in the text
// between them and the block before, each with its line.
func unnamedFiles(page string) []string {
	var found []string
	fenced, prose := false, ""
	for i, line := range strings.Split(page, "\n") {
		fence, is := strings.CutPrefix(line, "```")
		if !is {
			if !fenced {
				prose += line + "\n"
			}
			continue
		}
		if words := strings.Fields(fence); !fenced && len(words) == 3 && words[1] == "file" && !strings.Contains(prose, "`"+words[2]+"`") {
			found = append(found, fmt.Sprintf("%d: the text above does not name the file `%s`", i+1, words[2]))
		}
		fenced, prose = !fenced, ""
	}
	return found
}

// TestUnnamedFiles wants the rule to find what it is for.
func TestUnnamedFiles(t *testing.T) {
	for text, want := range map[string]int{
		"This is `a.hcl`:\n\n```hcl file a.hcl\nx\n```\n":                         0,
		"This is `a.hcl`:\n\n```hcl\n`b.hcl`\n```\n\n```hcl file a.hcl\nx\n```\n": 1,
		"A file:\n\n```hcl file a.hcl\nx\n```\n":                                  1,
	} {
		if got := unnamedFiles(text); len(got) != want {
			t.Errorf("%q: got %q, want %d", text, got, want)
		}
	}
}
