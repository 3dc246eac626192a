package consensus

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// peerProgress is what the answers to a leader's messages show of a follower.
type peerProgress struct {
	// heartbeat is when the last one was answered.
	heartbeat time.Time
	// match is the last entry that it has acknowledged, since when.
	match uint64
	since time.Time
	// transfers counts snapshots on their way to it.
	transfers int
	// recycled is when its connections were last made anew because of this.
	recycled time.Time
}

// progress watches the followers of this node as a leader. raft reports
// whether they answer, for which heartbeats are enough; it does not report one
// whose replication is wedged (reliability H5), and as long as a majority
// commits, nothing else notices.
type progress struct {
	mu    sync.Mutex // guards following
	peers map[raft.ServerID]*peerProgress
}

func (p *progress) peer(id raft.ServerID) *peerProgress {
	if p.peers == nil {
		p.peers = map[raft.ServerID]*peerProgress{}
	}
	if p.peers[id] == nil {
		p.peers[id] = &peerProgress{since: time.Now()}
	}
	return p.peers[id]
}

// note processes a response to a message of the leader.
func (p *progress) note(id raft.ServerID, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, now := p.peer(id), time.Now()
	if isHeartbeat(args) {
		f.heartbeat = now
		return
	}

	if !resp.Success {
		// It searches for the entry at which its log agrees with ours: that is
		// progress too.
		f.since = now
		return
	}

	match := args.PrevLogEntry
	if n := len(args.Entries); n > 0 {
		match = args.Entries[n-1].Index
	}

	if match != f.match {
		f.match, f.since = match, now
	}
}

func isHeartbeat(m *raft.AppendEntriesRequest) bool {
	return m.PrevLogEntry == 0 && m.PrevLogTerm == 0 && len(m.Entries) == 0 && m.LeaderCommitIndex == 0
}

func (p *progress) transfer(id raft.ServerID, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.peer(id)
	f.transfers += by
	f.since = time.Now()
}

// lag is how many entries up to last each follower has not acknowledged.
func (p *progress) lag(last uint64) map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]uint64, len(p.peers))
	for id, f := range p.peers {
		out[string(id)] = last - min(f.match, last)
	}
	return out
}

// keep forgets all but these servers: raft continues with heartbeats to one that was
// removed for as long as it waits to send it the last entries.
func (p *progress) keep(servers []Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.peers, func(id raft.ServerID, _ *peerProgress) bool {
		return !slices.ContainsFunc(servers, func(s Server) bool { return s.ID == string(id) })
	})
}

// reset forgets everything: another node leads, or this one again.
func (p *progress) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers = nil
}

// stuck lists followers that answer heartbeats but have acknowledged nothing
// for the time given although the log has gone on to last. Each is listed once
// in that time.
func (p *progress) stuck(now time.Time, last uint64, after time.Duration) (out []raft.ServerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, f := range p.peers {
		if f.match >= last {
			f.since = now
		}
		if f.transfers == 0 && f.match < last && now.Sub(f.heartbeat) < after/2 && now.Sub(f.since) > after && now.Sub(f.recycled) > after {
			f.recycled = now
			out = append(out, id)
		}
	}
	return out
}
