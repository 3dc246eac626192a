package graph_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/pipeline/graph"
)

// sizes are n boxes.
func sizes(n int) []graph.Size {
	return slices.Repeat([]graph.Size{{Width: 144, Height: 42}}, n)
}

// layers is a graph of layers, in which each node waits for those of the layer before
// that pick names.
func layers(depth, width int, pick func(i int) []int) [][]int {
	needs := make([][]int, depth*width)
	for i := range needs {
		if layer := i / width; layer > 0 {
			for _, p := range pick(i) {
				needs[i] = append(needs[i], (layer-1)*width+p%width)
			}
		}
	}
	return needs
}

func sparse(i int) []int { return []int{i, i*7 + 1} }

func all(width int) func(int) []int {
	return func(int) []int {
		var list []int
		for i := range width {
			list = append(list, i)
		}
		return list
	}
}

// check fails unless a drawing is one: boxes do not overlap, lines lead to the right,
// from box to box, around corners.
func check(t interface{ Fatalf(string, ...any) }, needs [][]int, d graph.Drawing) {
	for i, b := range d.Boxes {
		if b.X < 0 || b.Y < 0 || b.X+b.Width > d.Width || b.Y+b.Height > d.Height {
			t.Fatalf("box %d lies outside: %+v of %g x %g", i, b, d.Width, d.Height)
		}
		for _, o := range d.Boxes[:i] {
			if b.X < o.X+o.Width && o.X < b.X+b.Width && b.Y < o.Y+o.Height && o.Y < b.Y+b.Height {
				t.Fatalf("boxes overlap: %+v and %+v", b, o)
			}
		}
		for _, j := range needs[i] {
			if d.Boxes[j].X+d.Boxes[j].Width >= b.X || d.Boxes[j].Layer >= b.Layer {
				t.Fatalf("%d waits for %d and does not lie right of it: %+v, %+v", i, j, b, d.Boxes[j])
			}
		}
	}
	for _, l := range d.Lines {
		p := l.Points
		if len(p) < 4 || len(p)%2 != 0 {
			t.Fatalf("line %+v", l)
		}
		for k := 2; k < len(p); k += 2 {
			if p[k] != p[k-2] && p[k+1] != p[k-1] || p[k] < p[k-2] {
				t.Fatalf("line %d to %d goes askew or back: %v", l.From, l.To, p)
			}
		}
		start, end := at(d, l.From, true), at(d, l.To, false)
		if p[0] != start[0] || p[1] != start[1] || p[len(p)-2] != end[0] || p[len(p)-1] != end[1] {
			t.Fatalf("line %d to %d: %v, from %v to %v", l.From, l.To, p, start, end)
		}
	}
}

// at is where lines leave or reach a node or junction.
func at(d graph.Drawing, i int, leave bool) [2]float64 {
	if i >= len(d.Boxes) {
		j := d.Junctions[i-len(d.Boxes)]
		return [2]float64{j.X, j.Y}
	}
	b := d.Boxes[i]
	x := b.X
	if leave {
		x += b.Width
	}
	return [2]float64{x, b.Y + 21}
}

// reach is whom a node waits for, in the end, by the lines of a drawing.
func reach(d graph.Drawing) map[int]map[int]bool {
	from := map[int][]int{}
	for _, l := range d.Lines {
		from[l.To] = append(from[l.To], l.From)
	}
	out := map[int]map[int]bool{}
	var visit func(i int) map[int]bool
	visit = func(i int) map[int]bool {
		if out[i] == nil {
			out[i] = map[int]bool{}
			for _, j := range from[i] {
				if j < len(d.Boxes) {
					out[i][j] = true
				}
				for k := range visit(j) {
					out[i][k] = true
				}
			}
		}
		return out[i]
	}
	for i := range d.Boxes {
		visit(i)
	}
	return out
}

// Any graph becomes a drawing that shows the same order, and the same one each time.
func TestLayout_property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "n")
		needs := make([][]int, n)
		for i := range needs {
			for j := range i {
				if rapid.IntRange(0, 5).Draw(t, "edge") == 0 {
					needs[i] = append(needs[i], j)
				}
			}
		}
		d := graph.Layout(sizes(n), needs)
		check(t, needs, d)
		if again := graph.Layout(sizes(n), needs); !reflect.DeepEqual(d, again) {
			t.Fatalf("the same graph is drawn in two ways")
		}
		got := reach(d)
		want := make([]map[int]bool, n)
		for i := range needs {
			want[i] = map[int]bool{}
			for _, j := range needs[i] {
				want[i][j] = true
				for k := range want[j] {
					want[i][k] = true
				}
			}
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("%d waits for %v, drawn is %v", i, want[i], got[i])
			}
		}
	})
}

// Nodes that wait for the same ones share a junction: 47,500 lines become 1,900.
func TestLayout_junctions(t *testing.T) {
	needs := layers(20, 50, all(50))
	d := graph.Layout(sizes(1000), needs)
	check(t, needs, d)
	if len(d.Lines) != 1900 || len(d.Junctions) != 19 || d.Junctions[0].In != 50 || d.Junctions[0].Out != 50 {
		t.Errorf("%d lines, %d junctions", len(d.Lines), len(d.Junctions))
	}
	if crossed := crossings(d); crossed != 0 {
		t.Errorf("%d crossings", crossed)
	}
	// Few lines are not joined.
	if d := graph.Layout(sizes(4), [][]int{nil, nil, nil, {0, 1, 2}}); len(d.Junctions) != 0 || len(d.Lines) != 3 {
		t.Errorf("one that waits for three: %+v", d)
	}
}

// crossings counts pairs of lines between the same columns whose ends lie the other way
// round than their beginnings; of direct lines only.
func crossings(d graph.Drawing) (n int) {
	for i, a := range d.Lines {
		for _, b := range d.Lines[:i] {
			p, q := at(d, a.From, true), at(d, b.From, true)
			r, s := at(d, a.To, false), at(d, b.To, false)
			if p[0] == q[0] && r[0] == s[0] && (p[1]-q[1])*(r[1]-s[1]) < 0 {
				n++
			}
		}
	}
	return n
}

// Chains that have nothing to do with each other lie straight.
func TestLayout_chains(t *testing.T) {
	needs := layers(5, 4, func(i int) []int { return []int{i} })
	d := graph.Layout(sizes(20), needs)
	check(t, needs, d)
	for _, l := range d.Lines {
		if len(l.Points) != 4 {
			t.Errorf("a straight line has corners: %v", l.Points)
		}
	}
	if n := crossings(d); n != 0 {
		t.Errorf("%d crossings", n)
	}
}

func TestLayout_empty(t *testing.T) {
	if d := graph.Layout(nil, nil); d.Boxes == nil || d.Lines == nil || d.Junctions == nil {
		t.Errorf("got %+v", d)
	}
	if d := graph.Layout(sizes(1), [][]int{nil}); len(d.Boxes) != 1 || d.Width != 176 || d.Height != 74 {
		t.Errorf("got %+v", d)
	}
}

func TestCyclic(t *testing.T) {
	if got := graph.Cyclic([][]int{nil, {0}, {3}, {2}, {2}}); fmt.Sprint(got) != "[2 3 4]" {
		t.Errorf("got %v", got)
	}
	if got := graph.Cyclic([][]int{nil, {0}, {0, 1}}); got != nil {
		t.Errorf("got %v", got)
	}
}

func BenchmarkLayout(b *testing.B) {
	for _, c := range []struct {
		name  string
		needs [][]int
	}{{"sparse", layers(20, 50, sparse)}, {"all", layers(20, 50, all(50))}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				graph.Layout(sizes(1000), c.needs)
			}
		})
	}
}
