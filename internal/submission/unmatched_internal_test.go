package submission

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const misspelt = `pipeline "p" {
  module "make" {
    command = ["true"]
    inputs  = ["src/**", "p.hcl", "srcc/**", "nofile.txt", "!none/**"]
    outputs = ["gen", "*.o", "!lib.a"]
  }
  module "after" {
    for_each = ["x", "y"]
    command  = ["true"]
    inputs   = ["gen/a.go", "lib.o", "lib.a"]
    depends_on = [module.make]
  }
  module "apart" {
    command = ["true"]
    inputs  = ["./gen/a.go"]
  }
  module "skipped" {
    when    = false
    command = ["true"]
    inputs  = ["none"]
  }
}
`

// A glob that matches no file is named once, also without a file being read; one that an
// output of a module before may match is not.
func TestJob_unmatchedInputs(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, dir, "p.hcl", misspelt)
	writeFile(t, dir, "src/a/b.go", "package b")

	var got []string
	o := &Options{File: file, ReadFile: os.ReadFile, Warn: func(s string) { got = append(got, s) }}
	j, err := o.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()

	want := []string{
		file + `:2: module "make": inputs[2]: "srcc/**" matches no file of the workspace`,
		file + `:2: module "make": inputs[3]: "nofile.txt" matches no file of the workspace`,
		file + `:7: module "after": inputs[2]: "lib.a" matches no file of the workspace`,
		file + `:13: module "apart": inputs[0]: "gen/a.go" matches no file of the workspace`,
	}
	if err := os.Chmod(filepath.Join(dir, "src/a/b.go"), 0); err != nil {
		t.Fatal(err)
	}
	listed, err := j.UnmatchedInputs(t.Context())
	if err != nil || len(listed) != len(want) {
		t.Errorf("of the listing: %v, %v", listed, err)
	}
	if err := os.Chmod(filepath.Join(dir, "src/a/b.go"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := j.TakeFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestMayOverlap(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"srcc/**", "*.txt", false},
		{"srcc/**", "srcc", true},
		{"gen", "gen/x/*.go", true},
		{"**/*.go", "out", true},
		{"a*/x", "*b/x", true},
		{"a*/x", "b/x", false},
		{"a/x", "a*/y", false},
		{"{a,b/c}", "d", true},
	} {
		if mayOverlap(tc.a, tc.b) != tc.want || mayOverlap(tc.b, tc.a) != tc.want {
			t.Errorf("%s, %s: want %v", tc.a, tc.b, tc.want)
		}
	}
}
