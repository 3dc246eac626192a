// Package graph lays the modules of a pipeline out as a drawing, from left to
// right: in layers by their longest path, with few crossings and short lines, and
// with one junction for modules that wait for the same others. It knows boxes and
// lines, not modules. It is pure: the same graph gives the same drawing, on every
// node.
package graph

// Size is what a box takes, in pixels.
type Size struct{ Width, Height float64 }

// Box is where a node lies: its upper left corner.
type Box struct {
	X, Y float64
	Size
	// Layer is how many nodes lie on the longest path that leads here.
	Layer int
}

// Junction joins the lines of In nodes that Out others wait for, all of them for all.
type Junction struct {
	X, Y    float64
	In, Out int
}

// Line leads from a node or junction to another. Points are its corners, x and y in
// turn; its parts are horizontal and vertical.
type Line struct {
	// From and To count nodes from 0 and junctions behind the last node.
	From, To int
	Points   []float64
}

// Drawing is a graph with places.
type Drawing struct {
	Width, Height float64
	Boxes         []Box
	Junctions     []Junction
	Lines         []Line
}

// The distances of a drawing, in pixels.
const (
	gapX     = 44 // between columns, without room for corners
	gapY     = 14 // between boxes
	trackGap = 6  // between vertical parts of lines
	maxTrack = 12 // beyond which vertical parts share a place
	wireGap  = 8  // between lines that pass a column
	junction = 4  // height of a junction
	margin   = 16
	// minJunction is the least number of common dependencies that are joined.
	minJunction = 3
	// sweeps is how often the order of the columns is improved.
	sweeps = 8
)

// Layout draws nodes of the given sizes; needs lists for each those that it waits
// for. Dependencies that follow from others are not drawn. needs must have no cycle.
// Nodes that wait for the same others should share the slice: it is looked at once.
func Layout(sizes []Size, needs [][]int) Drawing {
	g := newLayered(sizes, reduce(needs))
	g.order()
	g.place()
	return g.drawing()
}

// Cyclic lists the nodes that are in a cycle, or wait for one that is.
func Cyclic(needs [][]int) []int {
	free := make([]bool, len(needs))
	for _, i := range topological(needs) {
		free[i] = true
	}
	var list []int
	for i := range needs {
		if !free[i] {
			list = append(list, i)
		}
	}
	return list
}

// reduce removes the dependencies that follow from others, repetitions and what
// cannot be.
func reduce(needs [][]int) [][]int {
	n := len(needs)
	words := (n + 63) / 64
	of, sets := group(needs)
	behind := make([][]uint64, len(sets)) // has a bit for each node that those with the set wait for
	reduced := make([][]int, len(sets))
	out := make([][]int, n)

	for _, i := range topological(needs) {
		s := of[i]
		if behind[s] == nil {
			behind[s] = make([]uint64, words)
			further := make([]uint64, words)
			for _, d := range sets[s] {
				for w, bits := range behind[of[d]] {
					further[w] |= bits
				}
			}
			copy(behind[s], further)
			for _, d := range sets[s] {
				bit := uint64(1) << (d % 64)
				if further[d/64]&bit == 0 && behind[s][d/64]&bit == 0 {
					reduced[s] = append(reduced[s], d)
				}
				behind[s][d/64] |= bit
			}
		}
		out[i] = reduced[s]
	}
	return out
}

// group gives each node the position of its set of dependencies in sets. Nodes that
// share a slice share a set: what is done per set is done once for all instances of a
// block, which may be thousands that wait for thousands of others.
func group(needs [][]int) (of []int, sets [][]int) {
	type slice struct {
		first *int
		n     int
	}
	known := map[slice]int{}
	of = make([]int, len(needs))
	for i, list := range needs {
		key := slice{n: len(list)}
		if len(list) > 0 {
			key.first = &list[0]
		}
		s, ok := known[key]
		if !ok {
			s = len(sets)
			known[key] = s
			sets = append(sets, list)
		}
		of[i] = s
	}
	return of, sets
}

// topological lists all nodes, each behind those that it waits for.
func topological(needs [][]int) []int {
	of, sets := group(needs)
	nodes := make([][]int, len(sets))
	for i, s := range of {
		nodes[s] = append(nodes[s], i)
	}
	in := make([][]int, len(needs)) // the sets that have a node
	left := make([]int, len(sets))
	list := make([]int, 0, len(needs))
	for s, set := range sets {
		for _, d := range set {
			in[d] = append(in[d], s)
		}
		if left[s] = len(set); left[s] == 0 {
			list = append(list, nodes[s]...)
		}
	}
	for at := 0; at < len(list); at++ {
		for _, s := range in[list[at]] {
			if left[s]--; left[s] == 0 {
				list = append(list, nodes[s]...)
			}
		}
	}
	return list
}

// invert gives for each node those that wait for it.
func invert(needs [][]int) [][]int {
	users := make([][]int, len(needs))
	for j := range needs {
		for _, i := range needs[j] {
			users[i] = append(users[i], j)
		}
	}
	return users
}
