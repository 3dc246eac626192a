package graph

import (
	"cmp"
	"slices"
)

// order puts the vertices of each column into an order with few crossings: first
// that of a walk from the sources, then by the middle of each vertex's neighbours,
// from the left and from the right in turn. The best that was seen stays.
func (g *layered) order() {
	g.walk()
	best, fewest := g.copyColumns(), g.crossings()

	for n := 0; n < sweeps && fewest > 0; n++ {
		for k := range g.columns {
			if n%2 == 0 {
				g.byMiddle(g.columns[k], g.needs)
			} else {
				g.byMiddle(g.columns[len(g.columns)-1-k], g.users)
			}
		}
		g.swap()
		if now := g.crossings(); now < fewest {
			best, fewest = g.copyColumns(), now
		}
	}

	g.columns = best
	for _, column := range g.columns {
		g.number(column)
	}
}

// walk orders the columns as a walk in depth from the sources meets the vertices.
func (g *layered) walk() {
	met := make([]int, len(g.needs)) // 0: not yet
	count := 0
	var stack []int
	for source := range g.needs {
		if len(g.needs[source]) > 0 {
			continue
		}
		stack = append(stack, source)
		for len(stack) > 0 {
			v := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if met[v] > 0 {
				continue
			}
			count++
			met[v] = count
			for _, u := range slices.Backward(g.users[v]) {
				stack = append(stack, u)
			}
		}
	}
	for _, column := range g.columns {
		slices.SortFunc(column, func(a, b int) int { return cmp.Compare(met[a], met[b]) })
		g.number(column)
	}
}

// number sets the slots of a column, around 0: columns of any length have their
// middle there.
func (g *layered) number(column []int) {
	for i, v := range column {
		g.slot[v] = float64(i) - float64(len(column)-1)/2
	}
}

// byMiddle orders a column by the mean slot of each vertex's neighbours.
func (g *layered) byMiddle(column []int, neighbours [][]int) {
	middle := make(map[int]float64, len(column))
	for _, v := range column {
		middle[v] = g.slot[v]
		if list := neighbours[v]; len(list) > 0 {
			sum := 0.0
			for _, u := range list {
				sum += g.slot[u]
			}
			middle[v] = sum / float64(len(list))
		}
	}
	slices.SortStableFunc(column, func(a, b int) int { return cmp.Compare(middle[a], middle[b]) })
	g.number(column)
}

// swap exchanges vertices that lie side by side, as long as that saves crossings.
func (g *layered) swap() {
	sorted := func(list []int) []int {
		list = slices.Clone(list)
		slices.SortFunc(list, func(a, b int) int { return cmp.Compare(g.slot[a], g.slot[b]) })
		return list
	}

	for range 4 {
		better := false
		for _, column := range g.columns {
			left, right := make([][]int, len(column)), make([][]int, len(column))
			for i, v := range column {
				left[i], right[i] = sorted(g.needs[v]), sorted(g.users[v])
			}
			for i := 1; i < len(column); i++ {
				now := g.between(left[i-1], left[i]) + g.between(right[i-1], right[i])
				then := g.between(left[i], left[i-1]) + g.between(right[i], right[i-1])
				if then >= now {
					continue
				}
				a, b := column[i-1], column[i]
				column[i-1], column[i] = b, a
				g.slot[a], g.slot[b] = g.slot[b], g.slot[a]
				left[i-1], left[i], right[i-1], right[i] = left[i], left[i-1], right[i], right[i-1]
				better = true
			}
		}
		if !better {
			return
		}
	}
}

// between counts the crossings of the lines of two vertices of a column, a before b,
// to one side; the lists are sorted by slot.
func (g *layered) between(a, b []int) (n int) {
	at := 0 // how many of b lie before the one of a
	for _, v := range a {
		for at < len(b) && g.slot[b[at]] < g.slot[v] {
			at++
		}
		n += at
	}
	return n
}

// crossings counts all crossings, column by column: those of a line are the lines that
// were met before and end behind it.
func (g *layered) crossings() (n int) {
	for k := 1; k < len(g.columns); k++ {
		before := g.columns[k-1]
		place := make(map[int]int, len(before))
		for i, v := range before {
			place[v] = i
		}
		sums := make([]int, len(before)+1) // a Fenwick tree over the places
		met := 0
		for _, v := range g.columns[k] {
			for _, u := range g.needs[v] {
				upTo := 0
				for i := place[u] + 1; i > 0; i &= i - 1 {
					upTo += sums[i]
				}
				n += met - upTo
			}
			for _, u := range g.needs[v] {
				for i := place[u] + 1; i < len(sums); i += i & -i {
					sums[i]++
				}
			}
			met += len(g.needs[v])
		}
	}
	return n
}

func (g *layered) copyColumns() [][]int {
	out := make([][]int, len(g.columns))
	for i, column := range g.columns {
		out[i] = slices.Clone(column)
	}
	return out
}
