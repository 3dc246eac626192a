package scheduler

// ordered is a value that can compare itself with another.
type ordered[T any] interface{ before(T) bool }

var (
	_ ordered[*group]    = (*group)(nil)
	_ ordered[*Run]      = (*Run)(nil)
	_ ordered[ready]     = ready{}
	_ ordered[candidate] = candidate{}
)

// minHeap is a binary heap of values, the first at 0. Unlike container/heap it
// does not box them: a plan moves one for each module it places.
type minHeap[T ordered[T]] []T

// build turns values in any order into a heap.
func (h minHeap[T]) build() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

func (h *minHeap[T]) push(v T) {
	*h = append(*h, v)

	a := *h

	for i := len(a) - 1; i > 0; {
		parent := (i - 1) / 2
		if !a[i].before(a[parent]) {
			return
		}
		a[i], a[parent] = a[parent], a[i]
		i = parent
	}
}

// pop removes the first value and returns it.
func (h *minHeap[T]) pop() T {
	a := *h
	first, last := a[0], len(a)-1
	a[0] = a[last]
	var none T
	a[last] = none // holds nothing back from the collector
	*h = a[:last]
	h.down(0)
	return first
}

// down moves the element at i to its place after its key has grown.
func (h minHeap[T]) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if h[c].before(h[least]) {
				least = c
			}
		}

		if least == i {
			return
		}

		h[i], h[least] = h[least], h[i]
		i = least
	}
}
