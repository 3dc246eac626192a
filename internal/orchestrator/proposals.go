package orchestrator

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
)

// maxInFlight bounds the batches that are proposed and not yet committed. More
// than one hides the latency of a commit; the bound lets batches fill under load.
const maxInFlight = 8

// proposals owns the batch in the making and the batches in flight. Waiting for a
// commit happens in a goroutine; its fate comes back through the inbox.
type proposals struct {
	log    Log
	logger hclog.Logger
	inbox  *inbox
	tasks  *tasks
	// committed is called on the loop with the fate of each batch.
	committed func(b *batch, index uint64, reply any, err error)

	batch    *batch
	inFlight int
}

// busy reports whether nothing more should be proposed now. A commit that arrives
// runs the loop again.
func (p *proposals) busy() bool { return p.inFlight >= maxInFlight }

// flushIfFull proposes the batch if it has reached its size.
func (p *proposals) flushIfFull() {
	if p.batch.full() {
		p.flush()
	}
}

// flush proposes the batch, unless it is empty.
func (p *proposals) flush() {
	b := p.batch
	if b.empty() {
		return
	}

	// The new batch first: what committed does on an error may add to it.
	p.batch = &batch{}
	for r := range b.runs {
		r.inFlight++
	}

	b.at = time.Now().UTC()
	cmd, err := fsm.Encode(&fsm.Command{At: b.at, Batch: &b.Batch})
	if err != nil {
		// Cannot happen below the limits. The runs are read again and continue.
		p.logger.Error("encode decisions", "error", err)
		p.committed(b, 0, nil, err)
		return
	}

	p.inFlight++
	pending := p.log.Propose(cmd)
	p.tasks.start(func(context.Context) {
		index, reply, err := pending.Wait()
		p.inbox.post(func() {
			p.inFlight--
			p.committed(b, index, reply, err)
		})
	})
}

// submit proposes a command that is not a batch and calls done on the loop with
// its fate. An encoding error is logged and returned; done is not called then.
func (p *proposals) submit(what string, c *fsm.Command, done func(reply any, err error)) error {
	cmd, err := fsm.Encode(c)
	if err != nil {
		p.logger.Error("encode command", "command", what, "error", err)
		return err
	}

	pending := p.log.Propose(cmd)
	p.tasks.start(func(context.Context) {
		_, reply, err := pending.Wait()
		p.inbox.post(func() { done(reply, err) })
	})
	return nil
}
