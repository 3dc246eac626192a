package executor

import (
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// publisher puts exits on disk and then publishes them, all that have come
// together. An exit that is published survives the death of this process.
type publisher struct {
	// exits is nil if exits are not kept on disk.
	exits *exitLog
	// publish gets one batch at a time.
	publish func([]Status)
	// unforgotten gives the exits that must stay on disk.
	unforgotten func() []Status
	log         hclog.Logger

	mu sync.Mutex // guards following
	// flushing says that a goroutine is in flush. It has the work of all who
	// come meanwhile, so that the file has one writer.
	flushing bool
	ended    []*attempt // exits not yet published
	compact  bool       // the exits on disk are to be rewritten
}

// add publishes the exits of attempts, before it returns or by the goroutine that
// is at it already.
func (p *publisher) add(ended ...*attempt) {
	p.mu.Lock()
	p.ended = append(p.ended, ended...)
	p.mu.Unlock()
	p.flush()
}

// hold adds exits that wait for the next add.
func (p *publisher) hold(ended ...*attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = append(p.ended, ended...)
}

// forgotten rewrites the file if it has grown; idle says that nothing in it is
// needed.
func (p *publisher) forgotten(idle bool) {
	if p.exits == nil || !p.exits.wantsCompaction(idle) {
		return
	}

	p.mu.Lock()
	p.compact = true
	p.mu.Unlock()
	p.flush()
}

// flush publishes until nothing is left. A caller that finds another one at it
// leaves at once: the other looks again before it ends.
func (p *publisher) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flushing {
		return
	}

	p.flushing = true
	defer func() { p.flushing = false }()
	for len(p.ended) > 0 || p.compact {
		ended, compact := p.ended, p.compact
		p.ended, p.compact = nil, false

		p.mu.Unlock()
		p.flushBatch(ended, compact)
		p.mu.Lock()
	}
}

// flushBatch is flush's work: first the disk, then the reader.
func (p *publisher) flushBatch(ended []*attempt, compact bool) {
	batch, fresh := make([]Status, 0, len(ended)), make([]Status, 0, len(ended))
	for _, a := range ended {
		batch = append(batch, *a.final)
		if !a.onDisk {
			a.onDisk = true
			fresh = append(fresh, *a.final)
		}
	}

	if p.exits != nil && len(fresh) > 0 {
		if err := p.exits.append(fresh); err != nil {
			p.log.Error("write exits to disk", "error", err)
		}
	}
	if p.exits != nil && compact {
		if err := p.exits.compact(p.unforgotten()); err != nil {
			p.log.Error("rewrite exits on disk", "error", err)
		}
	}

	if len(batch) > 0 {
		p.publish(batch)
	}
}

// sortByExit orders attempts that have ended by the time of that.
func sortByExit(list []*attempt) {
	slices.SortFunc(list, func(a, b *attempt) int { return a.final.ExitedAt.Compare(b.final.ExitedAt) })
}
