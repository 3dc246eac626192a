package graph

import (
	"encoding/binary"
	"slices"
)

// kind says what a vertex is.
type kind uint8

const (
	node kind = iota
	joint
	// wire is where a line passes a column.
	wire
)

// layered is a graph whose lines lead from one column to the next: a longer one
// passes the columns between as wires.
type layered struct {
	nodes  int // the first vertices; then the junctions, then the wires
	joints []Junction
	kind   []kind
	height []float64
	sizes  []Size
	layer  []int // of nodes
	// needs are the neighbours to the left, users those to the right.
	needs, users [][]int
	column       []int
	columns      [][]int
	// routes are the vertices of each line, from its source to its end.
	routes [][]int
	// slot is a vertex's position in its column; y its middle.
	slot []float64
	y    []float64
}

func newLayered(sizes []Size, needs [][]int) *layered {
	g := &layered{nodes: len(sizes), sizes: sizes}
	needs = g.join(needs)
	g.rank(needs)
	g.split(needs)
	g.users = invert(g.needs)
	g.slot, g.y = make([]float64, len(g.needs)), make([]float64, len(g.needs))
	return g
}

// join puts a junction between nodes that wait for the same others and these, if it
// saves lines.
func (g *layered) join(needs [][]int) [][]int {
	of, sets := group(needs)
	keys := make([]string, len(sets)) // the same for sets of the same nodes
	for s, set := range sets {
		if len(set) < minJunction {
			continue
		}
		var key []byte
		for _, i := range slices.Sorted(slices.Values(set)) {
			key = binary.AppendUvarint(key, uint64(i))
		}
		keys[s] = string(key)
	}

	same := map[string][]int{} // nodes by key
	var order []string         // in which the keys were met
	for j := range needs {
		key := keys[of[j]]
		if key == "" {
			continue
		}
		if same[key] == nil {
			order = append(order, key)
		}
		same[key] = append(same[key], j)
	}

	out := slices.Clone(needs)
	for _, key := range order {
		users := same[key]
		common := needs[users[0]]
		if len(users)*len(common) <= len(users)+len(common) {
			continue
		}
		out = append(out, common)
		for _, j := range users {
			out[j] = []int{len(out) - 1}
		}
		g.joints = append(g.joints, Junction{In: len(common), Out: len(users)})
	}
	return out
}

// rank gives every vertex its column: those of nodes are even before they are
// counted anew, those of junctions odd.
func (g *layered) rank(needs [][]int) {
	g.column = make([]int, len(needs))
	g.layer = make([]int, g.nodes)
	for _, j := range topological(needs) {
		for _, i := range needs[j] {
			step := 2
			if j >= g.nodes || i >= g.nodes {
				step = 1
			}
			g.column[j] = max(g.column[j], g.column[i]+step)
		}
		if j < g.nodes {
			g.layer[j] = g.column[j] / 2
		}
	}

	used := slices.Compact(slices.Sorted(slices.Values(g.column)))
	for v, c := range g.column {
		g.column[v], _ = slices.BinarySearch(used, c)
	}
	g.columns = make([][]int, len(used))
}

// split makes wires, so that every line leads from one column to the next.
func (g *layered) split(needs [][]int) {
	real := len(needs)
	g.needs = make([][]int, real)
	for v := range real {
		if v < g.nodes {
			g.kind, g.height = append(g.kind, node), append(g.height, g.sizes[v].Height)
		} else {
			g.kind, g.height = append(g.kind, joint), append(g.height, junction)
		}
	}

	for j := range real {
		for _, i := range needs[j] {
			route := []int{i}
			for c := g.column[i] + 1; c < g.column[j]; c++ {
				g.needs = append(g.needs, []int{route[len(route)-1]})
				g.kind, g.height = append(g.kind, wire), append(g.height, 0)
				g.column = append(g.column, c)
				route = append(route, len(g.needs)-1)
			}
			g.needs[j] = append(g.needs[j], route[len(route)-1])
			g.routes = append(g.routes, append(route, j))
		}
	}
	for v, c := range g.column {
		g.columns[c] = append(g.columns[c], v)
	}
}
