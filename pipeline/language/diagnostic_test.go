package language_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/pipeline/language"
)

func TestDiagnostics_Write(t *testing.T) {
	d := language.Diagnostics{
		{File: "p.hcl", Line: 3, Column: 3, EndColumn: 6, Summary: "wrong", Detail: "write\nright", SourceLine: "\ta漢bc"},
		{File: "-var", Summary: "unknown variable \"x\x1b\""},
	}

	var b strings.Builder
	d.Write(&b, false)
	want := "p.hcl:3:3: wrong\n   3 | \ta漢bc\n     | \t ^^^^\n     = write\n     = right\n\n-var: unknown variable \"x<U+001B>\"\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}

	b.Reset()
	d.Write(&b, true)

	if !strings.Contains(b.String(), "\x1b[1;31mwrong\x1b[0m") || strings.Contains(b.String(), "x\x1b\"") {
		t.Errorf("%q", b.String())
	}

	var err error = d
	var back language.Diagnostics
	if !errors.As(fmt.Errorf("submit: %w", err), &back) || len(back) != 2 || strings.HasSuffix(err.Error(), "\n") {
		t.Error(err)
	}

	j, jerr := json.Marshal(d)
	if jerr != nil {
		t.Fatal(jerr)
	}

	var again language.Diagnostics
	if jerr := json.Unmarshal(j, &again); jerr != nil || cmp.Diff(d, again) != "" {
		t.Errorf("%s", j)
	}
}

// A place in a very long line is as exact as another, and shows a part of it.
func TestDiagnostics_longLine(t *testing.T) {
	for _, fill := range []string{"x", "é"} {
		src := moduleWith("command = [\"" + strings.Repeat(fill, 50_000) + "\", null]")
		_, diags := language.Parse("p.hcl", []byte(src))
		if len(diags) != 1 {
			t.Fatal(len(diags))
		}

		d := diags[0]
		if d.Line != 3 || len([]rune(d.SourceLine)) > 200 || d.SourceStart == 0 {
			t.Errorf("%d:%d, %d characters from %d", d.Line, d.Column, len([]rune(d.SourceLine)), d.SourceStart)
		}

		if fill == "x" && d.Column != 50_016 {
			t.Errorf("column %d", d.Column)
		}

		lines := strings.Split(diags.Error(), "\n")
		at := strings.Index(lines[2], "^")
		if shown := []rune(lines[1]); string(shown[at:at+4]) != "null" {
			t.Errorf("%s\n%s", lines[1], lines[2])
		}
	}
}
