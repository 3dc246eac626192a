package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline/language"
)

// TestLanguage_namesAll wants docs/language.md to name every block and
// attribute that the language has, as code.
func TestLanguage_namesAll(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "docs/language.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	n := 0
	var attributes func(block string, list []language.SchemaAttribute)
	attributes = func(block string, list []language.SchemaAttribute) {
		for _, a := range list {
			n++
			if !named(page, a.Name) {
				t.Errorf("docs/language.md does not name %s of %s", a.Name, block)
			}
			for _, c := range a.Choices {
				if !strings.Contains(page, `"`+c+`"`) {
					t.Errorf("docs/language.md does not say that %s of %s may be %q", a.Name, block, c)
				}
			}
			attributes(a.Name, a.Attributes)
		}
	}
	var blocks func(list []language.SchemaBlock)
	blocks = func(list []language.SchemaBlock) {
		for _, b := range list {
			n++
			if !named(page, b.Name) {
				t.Errorf("docs/language.md does not name the block %s", b.Name)
			}
			attributes(b.Name, b.Attributes)
			blocks(b.Blocks)
		}
	}
	blocks(language.DescribeLanguage().Blocks)
	if n < 60 {
		t.Errorf("only %d names were looked for", n)
	}
}

// named reports whether a page has a name as code, with or without a value.
func named(page, name string) bool {
	for _, end := range []string{"`", " = ", " ="} {
		if strings.Contains(page, "`"+name+end) {
			return true
		}
	}
	return false
}
