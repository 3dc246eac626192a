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
	behind := make([][]uint64, n) // behind[i] has a bit for each that i waits for
	out := make([][]int, n)

	for _, i := range topological(needs) {
		behind[i] = make([]uint64, words)
		further := make([]uint64, words)
		for _, d := range needs[i] {
			for w, bits := range behind[d] {
				further[w] |= bits
			}
		}
		copy(behind[i], further)
		for _, d := range needs[i] {
			bit := uint64(1) << (d % 64)
			if further[d/64]&bit == 0 && behind[i][d/64]&bit == 0 {
				out[i] = append(out[i], d)
			}
			behind[i][d/64] |= bit
		}
	}
	return out
}

// topological lists all nodes, each behind those that it waits for.
func topological(needs [][]int) []int {
	users := invert(needs)
	left := make([]int, len(needs))
	list := make([]int, 0, len(needs))
	for i := range needs {
		if left[i] = len(needs[i]); left[i] == 0 {
			list = append(list, i)
		}
	}
	for at := 0; at < len(list); at++ {
		for _, j := range users[list[at]] {
			if left[j]--; left[j] == 0 {
				list = append(list, j)
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
