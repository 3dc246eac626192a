package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const matrix = `pipeline "p" {
  module "a" { command = ["true"] }
  module "unit" {
    matrix     = { n = ["1", "2", "3", "4", "5"] }
    command    = ["true"]
    depends_on = [module.a]
  }
  module "pair" {
    matrix     = { n = ["1", "2"] }
    command    = ["true"]
    depends_on = [module.a]
  }
  module "end" {
    command    = ["true"]
    depends_on = [module.unit, module.pair]
  }
}`

// boxes lists what the drawing shows.
func boxes(g wire.Graph) string {
	var list []string
	for _, n := range g.Layout.Nodes {
		if n.Module < 0 {
			list = append(list, g.Blocks[n.Block].Name+"*")
		} else {
			list = append(list, g.Modules[n.Module].Name)
		}
	}
	return strings.Join(list, " ")
}

func TestRuns_Graph(t *testing.T) {
	r := newRig(t)
	made := r.submit(matrix)
	for _, tc := range []struct {
		fold api.GraphFold
		want string
	}{
		{api.GraphFold{}, "a unit* pair[1] pair[2] end"},
		{api.GraphFold{All: true}, "a unit* pair* end"},
		{api.GraphFold{All: true, Unfold: []string{"pair"}}, "a unit* pair[1] pair[2] end"},
		{api.GraphFold{None: true}, "a unit[1] unit[2] unit[3] unit[4] unit[5] pair[1] pair[2] end"},
		{api.GraphFold{Unfold: []string{"unit"}}, "a unit[1] unit[2] unit[3] unit[4] unit[5] pair[1] pair[2] end"},
	} {
		g, err := r.runs.Graph(t.Context(), made.ID, tc.fold)
		if err != nil || boxes(g) != tc.want || g.ID != made.ID || g.Number != made.Number || g.Pipeline != "p" || g.Index == 0 {
			t.Errorf("%+v: got %s, %v, want %s", tc.fold, boxes(g), err, tc.want)
		}
		var needs []string
		for _, m := range g.Modules {
			if m.Needs >= 0 {
				needs = append(needs, fmt.Sprint(m.Name, g.Sets[m.Needs]))
			}
		}
		want := "[unit[1][0] unit[2][0] unit[3][0] unit[4][0] unit[5][0] pair[1][0] pair[2][0] end[1 2 3 4 5 6 7]]"
		if fmt.Sprint(needs) != want || len(g.Sets) != 2 {
			t.Errorf("needs %v, sets %v", needs, g.Sets)
		}
	}
	_, err := r.runs.Graph(t.Context(), "nope", api.GraphFold{})
	wantKind(t, err, pipeline.NotFound)
}

// Instances of two blocks that wait for each other crosswise cannot be folded.
func TestRuns_Graph_crosswise(t *testing.T) {
	r := newRig(t)
	block := func(name, depends string) string {
		return fmt.Sprintf("  module %q {\n    matrix = { n = [\"1\", \"2\", \"3\", \"4\"] }\n    command = [\"true\"]\n%s  }\n", name, depends)
	}
	made := r.submit("pipeline \"p\" {\n" + block("x", "") + block("y", "    depends_on = [module.x]\n") + "}")
	g, err := r.runs.Graph(t.Context(), made.ID, api.GraphFold{})
	if err != nil || boxes(g) != "x* y*" || len(g.Layout.Lines) != 1 {
		t.Fatalf("got %s, %v", boxes(g), err)
	}
	got, err := json.Marshal(g)
	if err != nil || strings.Contains(string(got), "null") {
		t.Errorf("%s, %v", got, err)
	}
}

// A change says nothing that the graph says.
func TestRuns_Run_withoutGraph(t *testing.T) {
	r := newRig(t)
	made := r.submit(two)
	before := r.read(made.ID)
	if diff := cmp.Diff([]string{"a"}, before.Modules[1].DependsOn); diff != "" {
		t.Errorf("whole: %s", diff)
	}
	r.succeed(made.ID, "a", "b")
	after, err := r.runs.Run(context.Background(), made.ID, 0, 0, before.Index)
	if err != nil || len(after.Modules) != 2 || after.Modules[1].DependsOn != nil {
		t.Errorf("changes: %+v, %v", after.Modules, err)
	}
}
