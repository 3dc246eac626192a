package executor

import "sync"

// exitQueue hands exits to the reader of a channel, so that no writer waits for
// that reader. One goroutine, run, belongs to it.
type exitQueue struct {
	out  chan Status
	quit chan struct{}
	kick chan struct{}

	mu sync.Mutex // guards following
	// waiting are those to hand over; an ID is in it once, with its last status.
	waiting []Status
	at      map[string]int
	closed  bool
}

func newExitQueue() *exitQueue {
	// The buffer saves a switch between goroutines for each of many exits that
	// come together.
	return &exitQueue{out: make(chan Status, 64), quit: make(chan struct{}), kick: make(chan struct{}, 1), at: make(map[string]int)}
}

// add hands exits over, or queues them if the channel is full. Order is kept:
// while anything waits, everything queues behind it.
func (q *exitQueue) add(batch []Status) {
	if !q.enqueue(batch) {
		return
	}

	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// enqueue reports whether run has something to do.
func (q *exitQueue) enqueue(batch []Status) bool {
	q.mu.Lock()
	defer q.mu.Unlock()

	for len(batch) > 0 && len(q.waiting) == 0 && !q.closed {
		select {
		case q.out <- batch[0]:
			batch = batch[1:]
			continue
		default:
		}
		break
	}
	if q.closed {
		return false
	}

	for _, st := range batch {
		if i, ok := q.at[st.ID]; ok {
			q.waiting[i] = st
			continue
		}
		q.at[st.ID] = len(q.waiting)
		q.waiting = append(q.waiting, st)
	}
	return len(batch) > 0
}

// run delivers until quit is closed, then closes the channel.
func (q *exitQueue) run() {
	defer func() {
		q.mu.Lock()
		q.closed = true
		close(q.out)
		q.mu.Unlock()
	}()

	for {
		select {
		case <-q.quit:
			return
		case <-q.kick:
		}

		q.mu.Lock()
		batch := q.waiting
		q.waiting = nil
		clear(q.at)
		q.mu.Unlock()

		for _, st := range batch {
			select {
			case <-q.quit:
				return
			case q.out <- st:
			}
		}
	}
}
