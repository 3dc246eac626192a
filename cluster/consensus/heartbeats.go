package consensus

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// heartbeatsAtOnce is how many heartbeats to a follower may be unanswered over a
// slow link, each on its own connection: if one has lost a packet, the other is
// not held up.
const heartbeatsAtOnce = 2

var (
	errDeposed = errors.New("the follower is in a newer term")
	errLate    = errors.New("the follower's last answer is older than the lease")
)

// heartbeats keeps a leader over slow links. raft fixes its lease when it starts,
// and a leader whose followers take longer to answer gives up at once. So if
// the lease that follows from the round trips is longer than raft's, raft gets the
// answer to its heartbeat early, as long as the follower's last answer is recent
// enough: the leader stops when the longer lease ends. It counts from the moment
// at which what was answered was sent.
//
// raft takes nothing else from the answer to a heartbeat but votes for its own
// VerifyLeader, which is not used (verifier): what was proposed, and who leads, is
// decided by other messages.
type heartbeats struct {
	// own is raft's lease, lease the one that is to hold.
	own   time.Duration
	lease func() time.Duration
	// send sends one and waits for its answer.
	send func(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error
	wg   sync.WaitGroup

	mu    sync.Mutex // guards following
	peers map[raft.ServerID]*pulse
}

// pulse is what is known of a follower in a term.
type pulse struct {
	term uint64
	// confirmed is when the latest message was sent that the follower has answered.
	confirmed time.Time
	// sending counts heartbeats under way. changed is closed, and replaced, when
	// one of them has ended, with err.
	sending int
	changed chan struct{}
	err     error
}

// beat is what raft calls for a heartbeat.
func (h *heartbeats) beat(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	lease := h.lease()
	if lease <= h.own {
		sent := time.Now()
		err := h.send(id, target, args, resp)
		if err == nil && resp.Success {
			h.confirm(id, args.Term, sent)
		}
		return err
	}

	// It waits for one answer and no longer: only then does raft see that it has lost
	// its leadership meanwhile, or that it is to send nothing (transport.muted).
	for waited := false; ; waited = true {
		ended := h.begin(id, target, *args)
		if ended == nil {
			return errDeposed
		}
		recent, err := h.recent(id, args.Term, lease-h.own)
		switch {
		case recent:
			resp.Term, resp.Success = args.Term, true
			return nil
		case waited && err == nil:
			return errLate
		case waited:
			return err
		}
		<-ended
	}
}

// begin sends a heartbeat, unless enough are under way, and returns a channel
// that is closed when one has ended, nil if the term is past.
func (h *heartbeats) begin(id raft.ServerID, target raft.ServerAddress, args raft.AppendEntriesRequest) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.peer(id, args.Term)
	if p == nil {
		return nil
	}
	if p.sending >= heartbeatsAtOnce {
		return p.changed
	}

	p.sending++
	h.wg.Go(func() { // ends with the exchange, which the transport bounds
		sent := time.Now()
		var resp raft.AppendEntriesResponse
		err := h.send(id, target, &args, &resp)
		if err == nil && !resp.Success {
			err = errDeposed
		}

		h.mu.Lock()
		defer h.mu.Unlock()
		p.sending--
		p.err = err
		if err == nil && sent.After(p.confirmed) {
			p.confirmed = sent
		}
		close(p.changed)
		p.changed = make(chan struct{})
	})
	return p.changed
}

// peer is what is known of a follower in a term, nil if there is a later one; the
// caller holds the lock.
func (h *heartbeats) peer(id raft.ServerID, term uint64) *pulse {
	p := h.peers[id]
	switch {
	case p == nil || p.term < term:
		p = &pulse{term: term, changed: make(chan struct{})}
		h.peers[id] = p
	case p.term > term:
		return nil
	}
	return p
}

// recent reports whether a follower has answered something that was sent within a
// time. Else err is how the last heartbeat failed.
func (h *heartbeats) recent(id raft.ServerID, term uint64, within time.Duration) (yes bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.peer(id, term)
	if p == nil {
		return false, errDeposed
	}
	return time.Since(p.confirmed) <= within, p.err
}

// confirm notes that a follower has answered what was sent at a time: a heartbeat,
// entries, or the request for its vote. The first heartbeats may have to connect,
// which takes two round trips more.
func (h *heartbeats) confirm(id raft.ServerID, term uint64, sent time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.peer(id, term); p != nil && sent.After(p.confirmed) {
		p.confirmed = sent
	}
}
