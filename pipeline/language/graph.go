package language

import "slices"

// edge means that a node needs another one; place is the position in the
// source.
type edge[P any] struct {
	to    int
	place P
}

// components returns the strongly connected components of a graph (Tarjan's
// algorithm without recursion: graphs come from outside), each after all that
// it needs. Members are in ascending order.
func components[P any](edges [][]edge[P]) [][]int {
	n := len(edges)
	index, low := make([]int, n), make([]int, n) // index 0 is "not seen"
	onStack := make([]bool, n)
	var stack []int
	var out [][]int
	type call struct{ node, next int }
	var calls []call
	count := 0
	enter := func(v int) {
		count++
		index[v], low[v] = count, count
		onStack[v] = true
		stack = append(stack, v)
		calls = append(calls, call{node: v})
	}

	for root := range n {
		if index[root] != 0 {
			continue
		}

		enter(root)

		for len(calls) > 0 {
			c := &calls[len(calls)-1]
			v := c.node
			if c.next < len(edges[v]) {
				w := edges[v][c.next].to
				c.next++
				if index[w] == 0 {
					enter(w)
				} else if onStack[w] {
					low[v] = min(low[v], index[w])
				}
				continue
			}

			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				parent := calls[len(calls)-1].node
				low[parent] = min(low[parent], low[v])
			}

			if low[v] == index[v] {
				at := slices.Index(stack, v)
				group := slices.Clone(stack[at:])
				stack = stack[:at]
				for _, w := range group {
					onStack[w] = false
				}
				slices.Sort(group)
				out = append(out, group)
			}
		}
	}

	return out
}

// cycleIn returns the shortest path from the first member of a component back
// to itself, both ends included, or nil if the component is a single node that
// does not need itself.
func cycleIn[P any](edges [][]edge[P], group []int) []int {
	start := group[0]

	from := make(map[int]int, len(group)) // to a node from its predecessor; -1 is a member not seen
	for _, v := range group {
		from[v] = -1
	}

	queue := []int{start}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		for _, e := range edges[v] {
			if e.to == start {
				path := []int{start}
				for w := v; w != start; w = from[w] {
					path = append(path, w)
				}
				path = append(path, start)
				slices.Reverse(path)
				return path
			}

			if prev, member := from[e.to]; member && prev == -1 {
				from[e.to] = v
				queue = append(queue, e.to)
			}
		}
	}

	return nil
}

// placeOf returns the position of the edge from one node to another.
func placeOf[P any](edges [][]edge[P], from, to int) (place P) {
	for _, e := range edges[from] {
		if e.to == to {
			return e.place
		}
	}
	return place
}
