package language

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
)

// Each section of the file has a source with a syntax error, a line with ---, and what is
// said of it. -update writes it anew.
func TestSyntaxTexts(t *testing.T) {
	const file = "testdata/syntax.txt"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	unseen := map[string]bool{}
	for summary := range syntaxTexts {
		unseen[summary] = true
	}
	for _, section := range strings.Split(string(text), "### ")[1:] {
		name, rest, _ := strings.Cut(section, "\n")
		src, _, ok := strings.Cut(rest, "\n---\n")
		if !ok {
			t.Fatalf("%s: no line ---", name)
		}
		_, diags := Parse("p.hcl", []byte(src))
		said := diags.Error()
		got.WriteString("### " + name + "\n" + src + "\n---\n" + said + "\n\n")
		if len(diags) == 0 {
			t.Errorf("%s: no mistake", name)
		}
		_, raw := parseConfig("p.hcl", []byte(src), hcl.InitialPos)
		for _, d := range raw {
			delete(unseen, d.Summary)
			if d.Detail != "" && strings.Contains(said, d.Detail) && d.Summary != "Nested splat expression not allowed" {
				t.Errorf("%s: this is HCL's own text: %s: %s", name, d.Summary, d.Detail)
			}
		}
	}
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(string(text), got.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// HCL may say it in other words one day.
	for summary := range unseen {
		t.Errorf("no section leads to %q", summary)
	}
}
