package node

import (
	"context"
	"slices"
	"sync"
)

// grouped lets calls that wait for the same kind of work share it: one of them
// takes what all have brought meanwhile and does it at once. It has no goroutine
// of its own.
type grouped[T any] struct {
	mu      sync.Mutex // guards following
	waiting []*ticket[T]

	// turns has an element for each group under way; its capacity is how many
	// may be.
	turns chan struct{}
	// most is how many share a group.
	most int
	work func(context.Context, []T) error
}

type ticket[T any] struct {
	item T
	done chan struct{} // closed after err is set
	err  error
}

func newGrouped[T any](turns, most int, work func(context.Context, []T) error) *grouped[T] {
	return &grouped[T]{turns: make(chan struct{}, turns), most: most, work: work}
}

// do has an item worked on, with others, and gives the outcome of its group. Those
// of later calls are never worked on before it. When ctx ends first the item is
// taken back, unless its group is under way.
func (g *grouped[T]) do(ctx context.Context, item T) error {
	t := &ticket[T]{item: item, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, t)
	g.mu.Unlock()
	for {
		select {
		case <-t.done:
			return t.err
		case <-ctx.Done():
			g.drop(t)
			return context.Cause(ctx)
		case g.turns <- struct{}{}:
		}
		g.group(ctx)
		<-g.turns
		select {
		case <-t.done: // whatever became of the caller meanwhile
			return t.err
		default:
		}
	}
}

func (g *grouped[T]) drop(t *ticket[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = slices.DeleteFunc(g.waiting, func(x *ticket[T]) bool { return x == t })
}

// group works on what waits. The caller's end is not the others'.
func (g *grouped[T]) group(ctx context.Context) {
	g.mu.Lock()
	n := min(len(g.waiting), g.most)
	mine := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	g.mu.Unlock()
	if n == 0 {
		return
	}
	items := make([]T, n)
	for i, t := range mine {
		items[i] = t.item
	}
	err := g.work(context.WithoutCancel(ctx), items)
	for _, t := range mine {
		t.err = err
		close(t.done)
	}
}
