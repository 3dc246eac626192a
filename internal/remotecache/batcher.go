package remotecache

import (
	"context"
	"slices"
	"sync"
)

// batcher lets concurrent calls share one kind of work: one of them takes the
// items of all that wait and works on them at once. It has no goroutine of its
// own.
type batcher[T any] struct {
	mu      sync.Mutex // guards following
	waiting []*waiter[T]

	// turns has an element for each batch under way; its capacity bounds them.
	turns chan struct{}
	// most is how many items share a batch.
	most int
	work func(context.Context, []T) error
}

type waiter[T any] struct {
	item T
	done chan struct{} // closed after err is set
	err  error
}

func newBatcher[T any](turns, most int, work func(context.Context, []T) error) *batcher[T] {
	return &batcher[T]{turns: make(chan struct{}, turns), most: most, work: work}
}

// do has an item worked on, with others, and returns the error of its batch. Items
// of later calls are never worked on before it. If ctx ends first the item is
// withdrawn, unless its batch is under way.
func (b *batcher[T]) do(ctx context.Context, item T) error {
	t := &waiter[T]{item: item, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, t)
	b.mu.Unlock()

	for {
		select {
		case <-t.done:
			return t.err
		case <-ctx.Done():
			b.drop(t)
			return context.Cause(ctx)
		case b.turns <- struct{}{}:
		}

		b.batch(ctx)
		<-b.turns
		select {
		case <-t.done: // whatever became of the caller meanwhile
			return t.err
		default:
		}
	}
}

func (b *batcher[T]) drop(t *waiter[T]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = slices.DeleteFunc(b.waiting, func(x *waiter[T]) bool { return x == t })
}

// batch works on what waits. The caller's end is not the others'.
func (b *batcher[T]) batch(ctx context.Context) {
	b.mu.Lock()
	n := min(len(b.waiting), b.most)
	mine := slices.Clone(b.waiting[:n])
	b.waiting = slices.Delete(b.waiting, 0, n)
	b.mu.Unlock()
	if n == 0 {
		return
	}

	items := make([]T, n)
	for i, t := range mine {
		items[i] = t.item
	}

	err := b.work(context.WithoutCancel(ctx), items)
	for _, t := range mine {
		t.err = err
		close(t.done)
	}
}
