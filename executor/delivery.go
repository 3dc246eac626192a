package executor

import "sync"

// delivery hands exits to whoever reads a channel, without anybody waiting for
// the reader. One goroutine, run, belongs to it.
type delivery struct {
	out  chan Status
	quit chan struct{}
	kick chan struct{}

	mu sync.Mutex // guards following
	// waiting are those to hand over; an ID stands in it once.
	waiting []Status
	at      map[string]int
	closed  bool
}

func newDelivery() *delivery {
	// A buffer spares a switch between goroutines for each of many exits that
	// come together.
	return &delivery{out: make(chan Status, 64), quit: make(chan struct{}), kick: make(chan struct{}, 1), at: make(map[string]int)}
}

// add hands exits over, or queues them where the channel is full.
func (d *delivery) add(batch []Status) {
	d.mu.Lock()
	for len(batch) > 0 && len(d.waiting) == 0 && !d.closed {
		select {
		case d.out <- batch[0]:
			batch = batch[1:]
			continue
		default:
		}
		break
	}
	if len(batch) == 0 || d.closed {
		d.mu.Unlock()
		return
	}
	for _, st := range batch {
		if i, ok := d.at[st.ID]; ok {
			d.waiting[i] = st
			continue
		}
		d.at[st.ID] = len(d.waiting)
		d.waiting = append(d.waiting, st)
	}
	d.mu.Unlock()
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// run delivers until quit is closed, then closes the channel.
func (d *delivery) run() {
	defer func() {
		d.mu.Lock()
		d.closed = true
		close(d.out)
		d.mu.Unlock()
	}()
	for {
		select {
		case <-d.quit:
			return
		case <-d.kick:
		}
		d.mu.Lock()
		batch := d.waiting
		d.waiting = nil
		clear(d.at)
		d.mu.Unlock()
		for _, st := range batch {
			select {
			case <-d.quit:
				return
			case d.out <- st:
			}
		}
	}
}
