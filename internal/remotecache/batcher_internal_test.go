package remotecache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/internal/testutil"
)

// What waits while a group is under way is the next group, in its order and no
// larger than allowed; each caller gets the outcome of its own group.
func TestBatcher_shares(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var groups [][]int
	bad := errors.New("the group with 3 fails")
	g := newBatcher(1, 4, func(_ context.Context, items []int) error {
		if items[0] == 0 {
			close(entered)
			<-release
		}
		mu.Lock()
		defer mu.Unlock()
		groups = append(groups, items)
		if slices.Contains(items, 3) {
			return bad
		}
		return nil
	})
	var calls errgroup.Group
	do := func(i int, want error) {
		calls.Go(func() error {
			if err := g.do(t.Context(), i); !errors.Is(err, want) || want == nil && err != nil {
				return fmt.Errorf("item %d: %v, want %v", i, err, want)
			}
			return nil
		})
	}
	do(0, nil)
	<-entered
	for i := 1; i <= 6; i++ {
		want := bad
		if i > 4 {
			want = nil
		}
		do(i, want)
		testutil.Eventually(t, 20*time.Second, func() error {
			g.mu.Lock()
			defer g.mu.Unlock()
			if len(g.waiting) != i {
				return fmt.Errorf("%d wait, want %d", len(g.waiting), i)
			}
			return nil
		})
	}
	close(release)
	if err := calls.Wait(); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(groups); got != "[[0] [1 2 3 4] [5 6]]" {
		t.Errorf("groups %s", got)
	}
}

// A caller that gives up withdraws its item, unless it is being worked on. The end
// of the caller that works for all does not end the work of the others.
func TestBatcher_givesUp(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	var mu sync.Mutex
	var done []int
	g := newBatcher(1, 10, func(ctx context.Context, items []int) error {
		entered <- struct{}{}
		<-release
		mu.Lock()
		defer mu.Unlock()
		done = append(done, items...)
		return ctx.Err()
	})
	first, cancelFirst := context.WithCancel(t.Context())
	second, cancelSecond := context.WithCancel(t.Context())
	var calls errgroup.Group
	calls.Go(func() error { return g.do(first, 1) })
	<-entered
	ended := make(chan error, 1)
	go func() { ended <- g.do(second, 2) }()
	testutil.Eventually(t, 20*time.Second, func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.waiting) != 1 {
			return errors.New("the second does not wait")
		}
		return nil
	})
	cancelSecond()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the second: %v", err)
	}
	cancelFirst()
	close(release)
	if err := calls.Wait(); err != nil {
		t.Errorf("the first was under way and ended with %v", err)
	}
	if !slices.Equal(done, []int{1}) {
		t.Errorf("done is %v", done)
	}
}
