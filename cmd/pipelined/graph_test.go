package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
)

// square is a -> b, c -> d, with a line from a to d that says nothing new, and
// a module whose name has to be escaped.
func square() runPlan {
	return runPlan{Pipeline: "p", Waves: [][]string{{"a"}, {"b", "c<1>"}, {"d"}}, Modules: []plannedModule{
		{Name: "a", Wave: 1}, {Name: "b", Wave: 2, DependsOn: []string{"a"}}, {Name: "c<1>", Wave: 2, DependsOn: []string{"a"}},
		{Name: "d", Wave: 3, DependsOn: []string{"a", "b", "c<1>"}}, {Name: "e", Skipped: "when is false", DependsOn: []string{"d"}}}}
}

func TestDirect(t *testing.T) {
	in := square()
	got := direct(in.Modules)
	for i, want := range []string{"", "a", "a", "b c<1>", "d"} {
		if s := strings.Join(got[i].DependsOn, " "); s != want {
			t.Errorf("%s has lines from %q, want %q", got[i].Name, s, want)
		}
	}
	if len(in.Modules[3].DependsOn) != 3 {
		t.Error("the plan itself has changed")
	}
}

func TestGraph_forms(t *testing.T) {
	plan := square()
	var out bytes.Buffer
	writeGraph(&out, plan)
	if want := "a\nb <- a\nc<1> <- a\nd <- a, b, c<1>\ne <- d (skipped: when is false)\n"; out.String() != want {
		t.Errorf("text:\n%s", &out)
	}
	out.Reset()
	writeDot(&out, plan)
	for _, line := range []string{`digraph "p" {`, `  "a" -> "b"`, `  "e" [style=dashed]`} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("dot has no line %q:\n%s", line, &out)
		}
	}
	out.Reset()
	writeMermaid(&out, plan)
	for _, line := range []string{`flowchart LR`, `  m0 --> m1`, `  m2["c<1>"]`} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("mermaid has no line %q:\n%s", line, &out)
		}
	}
	out.Reset()
	writeSVG(&out, plan)
	boxes, d := 0, xml.NewDecoder(&out)
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			boxes++
		}
	}
	if boxes != 5 {
		t.Errorf("the picture has %d boxes, want 5", boxes)
	}
}

// A run is drawn with the states of its modules.
func TestPlanOfRun(t *testing.T) {
	g := &wire.Graph{Pipeline: "p", Modules: []wire.GraphModule{{Name: "a", Needs: -1}, {Name: "b", Needs: 0}, {Name: "c", Needs: 1}}, Sets: [][]int{{0}, {0, 1}}}
	run := &wire.Run{Modules: []wire.Module{{Name: "a", State: "succeeded"}, {Name: "b", State: "failed"}}}
	var out bytes.Buffer
	writeGraph(&out, planOfRun(g, run))
	if want := "a (succeeded)\nb <- a (failed)\nc <- a, b\n"; out.String() != want {
		t.Errorf("got:\n%s", &out)
	}
}
