package consensus

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/pipeline"
)

// verifyPause is the pause after a voter that did not confirm.
const verifyPause = 20 * time.Millisecond

// verifier proves that this node leads, by heartbeats that are sent after the
// question and confirmed by a majority. raft's own VerifyLeader counts answers
// to heartbeats that were sent before: after a pause of the process those are
// older than the election of another leader.
//
// Questions have numbers. Each voter is asked for the newest one at a time, and
// its answer confirms all that were asked before it was sent, so any number of
// callers share one exchange. It is safe for concurrent use.
type verifier struct {
	self string
	// servers is the latest configuration, term the current term if this node
	// leads it.
	servers func() []Server
	term    func() (term uint64, leads bool)
	// confirm sends a voter a heartbeat of a term and returns the term that the
	// voter is in.
	confirm func(id string, term uint64) (newest uint64, err error)
	// lead reports the end of leadership.
	lead *epochs
	stop <-chan struct{}
	wg   sync.WaitGroup

	mu sync.Mutex // guards following
	// asked is the number of the newest question, waiting counts its callers.
	asked, waiting uint64
	// deposed is the newest term of ours that a voter has refused.
	deposed uint64
	peers   map[string]*confirmation
	// changed is closed, and replaced, when a voter has answered.
	changed chan struct{}
	closed  bool
}

// confirmation is what a voter has confirmed.
type confirmation struct {
	// busy is set while a goroutine asks the voter.
	busy bool
	// asked is the newest question that it has confirmed, in this term.
	asked, term uint64
}

func newVerifier(i *instance, t *transport, lead *epochs, stop <-chan struct{}) *verifier {
	return &verifier{self: i.id, servers: i.servers, term: i.term, confirm: t.confirm, lead: lead, stop: stop, peers: map[string]*confirmation{}, changed: make(chan struct{})}
}

// verify returns the term in which this node led at some moment after the call.
// The error is pipeline.ErrNotLeader, or says that a majority did not answer
// before ctx ended.
func (v *verifier) verify(ctx context.Context) (uint64, error) {
	term, leads := v.term()
	if !leads {
		return 0, pipeline.ErrNotLeader
	}

	others, needed := v.voters()
	if needed <= 0 {
		return term, nil
	}

	asked, ok := v.ask(others)
	if !ok {
		return 0, pipeline.ErrNotLeader
	}
	defer v.done()

	for {
		// Both before the look, so that no change is missed.
		_, _, _, lost := v.lead.now()
		confirmed, refused, changed := v.count(others, asked, term)

		if now, leads := v.term(); refused || !leads || now != term {
			return 0, pipeline.ErrNotLeader
		}
		if confirmed >= needed {
			return term, nil
		}

		select {
		case <-changed:
		case <-lost:
		case <-ctx.Done():
			return 0, pipeline.Errorf(pipeline.Unavailable, "verify that this node leads: %d of %d other voters confirmed: %w", confirmed, needed, context.Cause(ctx))
		}
	}
}

// voters lists the other voters, and how many of them make a majority together
// with this node.
func (v *verifier) voters() (others []string, needed int) {
	others, votes := otherVoters(v.servers(), v.self)
	if !votes {
		return others, len(others)/2 + 1
	}
	return others, (len(others) + 1) / 2
}

// ask makes a new question and has every voter asked. It reports false if the
// node is closed.
func (v *verifier) ask(voters []string) (question uint64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return 0, false
	}
	v.asked++
	v.waiting++

	for _, id := range voters {
		p := v.peers[id]
		if p == nil {
			p = &confirmation{}
			v.peers[id] = p
		}
		if !p.busy {
			p.busy = true
			v.wg.Go(func() { v.pursue(id, p) }) // ends when no caller waits, or with the transport
		}
	}
	return v.asked, true
}

// done ends the wait for a question.
func (v *verifier) done() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waiting--
}

// count returns how many voters have confirmed a question in a term, whether one
// has refused the term, and a channel that is closed at the next answer.
func (v *verifier) count(voters []string, question, term uint64) (confirmed int, refused bool, changed <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range voters {
		if p := v.peers[id]; p.term == term && p.asked >= question {
			confirmed++
		}
	}
	return confirmed, v.deposed >= term, v.changed
}

// pursue asks one voter as long as there is a question that it has not confirmed.
func (v *verifier) pursue(id string, p *confirmation) {
	for {
		question, term, wanted := v.next(p)
		if !wanted {
			return
		}

		newest, err := v.confirm(id, term)
		v.note(p, question, term, newest, err)

		if err != nil {
			select {
			case <-time.After(verifyPause):
			case <-v.stop:
			}
		}
	}
}

// next is the question to ask a voter and the term to ask it for.
func (v *verifier) next(p *confirmation) (question, term uint64, wanted bool) {
	// The term before the question: a question is confirmed for the term it was
	// asked in, or a later one.
	term, leads := v.term()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !leads || v.closed || v.waiting == 0 || v.deposed >= term || p.term == term && p.asked >= v.asked {
		p.busy = false
		return 0, 0, false
	}
	return v.asked, term, true
}

// note keeps a voter's answer.
func (v *verifier) note(p *confirmation, question, term, newest uint64, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case err != nil:
		return
	case newest > term:
		v.deposed = max(v.deposed, term)
	default:
		p.asked, p.term = question, term
	}
	close(v.changed)
	v.changed = make(chan struct{})
}

// close refuses new questions.
func (v *verifier) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
}

// confirm sends a heartbeat and returns the term that the voter is in: that of
// the heartbeat if it accepts this leader.
func (t *transport) confirm(id string, term uint64) (newest uint64, err error) {
	if t.muted.Load() {
		return 0, errMuted
	}

	addr := raft.ServerAddress(id)
	self := t.EncodePeer(raft.ServerID(t.streams.self), raft.ServerAddress(t.streams.self))
	args := &raft.AppendEntriesRequest{Term: term,
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(t.streams.self), Addr: self}}
	resp := &raft.AppendEntriesResponse{}
	sent := time.Now()
	if err := again(func() error { return t.NetworkTransport.AppendEntries(raft.ServerID(id), addr, args, resp) }); err != nil {
		return 0, err
	}
	if resp.Success {
		t.beats.confirm(raft.ServerID(id), term, sent)
	}

	if !resp.Success && resp.Term <= term {
		return 0, errBadMessage
	}
	return max(resp.Term, term), nil
}

// VerifyLeader proves that this node led at some moment after the call, and
// returns the term: a majority of the voters confirms it.
func (n *Node) VerifyLeader(ctx context.Context) (term uint64, err error) {
	if !n.proposer.open() {
		return 0, pipeline.ErrNotLeader
	}
	return n.verifier.verify(ctx)
}
