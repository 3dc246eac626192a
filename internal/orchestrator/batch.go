package orchestrator

import (
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// softLimit is when a batch is proposed before it is complete, so that an
// entry stays below fsm.MaxCommandBytes: one element adds at most a result of
// 64 KiB or an evaluated command.
const softLimit = 96 << 10

// batch is an entry in the making, and what is to happen with the fate of each
// of its elements.
type batch struct {
	fsm.Batch
	size    int
	starts  []*live
	ended   []*live // of Outcomes
	ends    []*mod
	expands []*mod
	awaits  []*mod
	decides []*mod
	assigns []*live
	runs    map[*run]struct{}
}

func (b *batch) empty() bool {
	return len(b.Starts)+len(b.Outcomes)+len(b.Ends)+len(b.Assigns)+len(b.Runs)+len(b.Copies)+len(b.Reopens)+len(b.Expands)+len(b.Awaits)+len(b.Decides) == 0
}

func (b *batch) touch(r *run, size int) {
	if b.runs == nil {
		b.runs = map[*run]struct{}{}
	}
	b.runs[r] = struct{}{}
	b.size += size
}

func (b *batch) start(l *live, at time.Time) {
	b.Starts = append(b.Starts, fsm.Start{ID: l.id, At: at})
	b.starts = append(b.starts, l)
	b.touch(l.mod.run, 100)
}

func (b *batch) outcome(l *live, o fsm.Outcome) {
	b.Outcomes = append(b.Outcomes, o)
	b.ended = append(b.ended, l)
	n := 400 + len(o.Outcome.Result) + len(o.Reason) + len(o.Outcome.Reason)
	for _, p := range o.Outcome.OutputPaths {
		n += len(p) + 2
	}
	b.touch(l.mod.run, n)
}

func (b *batch) end(m *mod, reason string) {
	b.Ends = append(b.Ends, fsm.End{Run: m.run.head.ID, Module: m.def.Name, State: m.state, Reason: reason,
		Ignored: m.def.IgnoreFailure})
	b.ends = append(b.ends, m)
	b.touch(m.run, 120+len(reason))
}

func (b *batch) expand(m *mod, list []pipeline.Instance) {
	e := fsm.Expand{Run: m.run.head.ID, Module: m.def.Name, Instances: list, Needs: m.unsettled()}
	b.Expands = append(b.Expands, e)
	b.expands = append(b.expands, m)
	n := 120
	for i := range list {
		n += len(list[i].Key) + 8
		for name, value := range list[i].Each {
			n += len(name) + len(value) + 8
		}
	}
	b.touch(m.run, n)
}

// unsettled names the dependencies whose end is not known to be applied.
func (m *mod) unsettled() []string {
	var names []string
	for _, d := range m.deps {
		if !d.settled {
			names = append(names, d.def.Name)
		}
	}
	return names
}

func (b *batch) assign(l *live, name string) {
	d := l.mod.def
	a := fsm.Assign{ID: l.id, Worker: l.worker, WorkerName: name, Incarnation: l.incarnation, Evaluated: l.evaluated,
		Locks: d.Locks, Always: d.AlwaysRun, Needs: l.mod.unsettled(), Cache: l.note, LocalBytes: l.localBytes}
	if l.after != nil {
		a.After = &l.after.id
	}
	n := 250
	for _, list := range [][]string{a.Needs, a.Locks} {
		for _, s := range list {
			n += len(s) + 2
		}
	}
	if c := l.note; c != nil {
		n += 200
		for _, x := range c.Parts {
			n += len(x.Name) + len(x.Sum) + 8
		}
		for _, list := range [][]string{c.Missed, c.Inputs} {
			for _, s := range list {
				n += len(s) + 3
			}
		}
	}
	if e := l.evaluated; e != nil {
		n += len(e.Script)
		for _, s := range e.Command {
			n += len(s) + 3
		}
		for k, v := range e.Env {
			n += len(k) + len(v) + 6
		}
	}
	b.Assigns = append(b.Assigns, a)
	b.assigns = append(b.assigns, l)
	b.touch(l.mod.run, n)
}

func (b *batch) runEnd(r *run, s pipeline.RunState, reason string) {
	b.Runs = append(b.Runs, fsm.RunEnd{Run: r.head.ID, State: s, Reason: reason})
	b.touch(r, 100+len(reason))
}

func (b *batch) reopen(m *mod, reason string) {
	b.Reopens = append(b.Reopens, fsm.Reopen{Run: m.run.head.ID, Module: m.def.Name, Attempt: m.attempts, Reason: reason})
	b.touch(m.run, 120+len(reason))
}

// full reports whether the batch should be proposed before anything is added.
func (b *batch) full() bool { return b.size >= softLimit }

// flush proposes the batch, if there is anything in it.
func (t *term) flush() {
	b := t.batch
	if b.empty() {
		return
	}
	t.batch = &batch{}
	for r := range b.runs {
		r.inflight++
	}
	cmd, err := fsm.Encode(&fsm.Command{At: time.Now().UTC(), Batch: &b.Batch})
	if err != nil {
		// Cannot happen below the limits; the runs are read anew and go on.
		t.log.Error("encode decisions", "error", err)
		t.committed(b, 0, nil, err)
		return
	}
	t.flights++
	p := t.cfg.Log.Propose(cmd)
	t.group.Go(func() error {
		index, reply, err := p.Wait()
		t.post(func() {
			t.flights--
			t.committed(b, index, reply, err)
		})
		return nil
	})
}

// committed deals with the fate of a proposal.
func (t *term) committed(b *batch, index uint64, reply any, err error) {
	for r := range b.runs {
		r.inflight--
	}
	res, _ := reply.(fsm.BatchResult)
	if err != nil {
		t.log.Warn("proposal", "error", err)
		for r := range b.runs {
			r.stale = true
		}
		for _, l := range b.ended {
			l.answer(peer.Ack{}, err)
		}
		t.reloadStale(b)
		return
	}
	refused := map[[2]int]fsm.Refusal{}
	for _, f := range res.Refused {
		refused[[2]int{int(f.Part), f.At}] = f
	}
	t.settleOutcomes(b, refused)
	for i, m := range b.ends {
		f, no := refused[[2]int{int(fsm.PartEnd), i}]
		m.settled = true
		t.stale(m.run, "end of "+m.def.Name, f, no)
	}
	for i, m := range b.expands {
		f, no := refused[[2]int{int(fsm.PartExpand), i}]
		m.settled = true
		t.stale(m.run, "instances of "+m.def.Name, f, no)
	}
	t.settleGates(b, refused)
	for i, l := range b.assigns {
		f, no := refused[[2]int{int(fsm.PartAssign), i}]
		if no {
			t.stale(l.mod.run, "assignment "+l.id.String(), f, no)
			continue
		}
		l.fence = index
		t.dispatch(l)
	}
	for i := range b.Runs {
		f, no := refused[[2]int{int(fsm.PartRun), i}]
		id := b.Runs[i].Run
		if r := t.runs[id]; r != nil {
			if no && !f.Duplicate {
				t.stale(r, "end of the run", f, no)
				continue
			}
			t.drop(id)
		}
	}
	t.reloadStale(b)
}

func (t *term) settleOutcomes(b *batch, refused map[[2]int]fsm.Refusal) {
	for i, l := range b.ended {
		f, no := refused[[2]int{int(fsm.PartOutcome), i}]
		if !l.late {
			l.mod.settled = true
			if b.Outcomes[i].Next == pipeline.ModuleSucceeded {
				t.recorded(l.mod)
			}
		}
		switch {
		case no && l.late:
			l.answer(peer.Ack{Done: true, Refused: f.Reason}, nil)
		case no && !f.Duplicate:
			t.stale(l.mod.run, "outcome of "+l.id.String(), f, no)
			l.answer(peer.Ack{Done: true, Refused: f.Reason}, nil)
		default:
			l.answer(peer.Ack{Done: true}, nil)
		}
	}
}

// stale marks a run for reading anew, because the state machine refused what
// the model thought possible.
func (t *term) stale(r *run, what string, f fsm.Refusal, refused bool) {
	if refused && !f.Duplicate {
		t.log.Warn("refused", "run", r.head.ID, "what", what, "reason", f.Reason)
		r.stale = true
		r.queue.Clear()
	}
}

func (t *term) reloadStale(b *batch) {
	for r := range b.runs {
		// What is decided and not proposed yet counts too: the state does not have
		// it. Its own commit comes by here again.
		_, pending := t.batch.runs[r]
		if r.stale && r.inflight == 0 && !pending && t.runs[r.head.ID] == r {
			t.reload(r)
		}
	}
}

// answer tells those who wait for the fate of the attempt's outcome.
func (l *live) answer(a peer.Ack, err error) {
	for _, w := range l.waiters {
		if err != nil {
			w.w.fail(err)
		} else {
			w.w.ack(w.i, a)
		}
	}
	l.waiters = nil
}
