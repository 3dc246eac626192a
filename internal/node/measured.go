package node

import (
	"context"
	"sync"
	"time"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/pipeline"
)

// cacheCounted is how long the size of the result cache is taken as it is: counting
// reads every entry.
const cacheCounted = time.Minute

// measured answers what metrics ask a node for when they are read.
type measured struct{ n *Node }

// sources lists it.
func (m measured) sources() metrics.Sources {
	n := m.n
	cache := &cacheSize{count: func() int64 {
		stats, err := n.services.cache.CacheStats(context.Background())
		if err != nil {
			return 0 // the state is closed
		}
		return stats.Bytes
	}}

	return metrics.Sources{
		Raft:   m.raft,
		Health: n.cluster.GossipHealth,
		Disk: func() metrics.Disk {
			free, _ := n.stores.blobs.FreeBytes() // a disk that does not answer is reported elsewhere
			d := metrics.Disk{Free: int64(free)}
			if use := n.fabric.collector.Usage(); use != nil {
				d.Blobs, d.Logs = use.Bytes, use.LogBytes
			}
			return d
		},
		OneCopy: n.underReplicated,
		Census: func(ctx context.Context) (metrics.Census, bool) {
			c, err := n.orch.Census(ctx)
			return c, err == nil
		},
		Members:    func() map[string]int { return countMembers(n.cluster.Members()) },
		CacheBytes: cache.bytes,
	}
}

// raft is this node's part in consensus.
func (m measured) raft() (metrics.RaftState, bool) {
	n := m.n
	if n.cfg.Mode == pipeline.ModeWorker {
		return metrics.RaftState{}, false
	}

	info := n.cluster.RaftInfo()
	s := metrics.RaftState{Leading: n.cluster.IsLeader(), Term: info.Term, Commit: info.Commit, Applied: info.Applied}
	if !s.Leading {
		if at := n.cluster.LastContact(); !at.IsZero() {
			s.LastContact = time.Since(at)
		}
		return s, true
	}

	s.Lag = map[string]uint64{}
	lag := n.cluster.RaftLag()
	var voters []cluster.Member
	for _, server := range info.Servers {
		id := pipeline.NodeID(server.ID)
		if id != n.id {
			s.Lag[n.state.NodeName(id)] = lag[server.ID]
		}
		if server.Suffrage == consensus.Voter {
			voter, known := n.cluster.Member(id)
			if !known {
				voter.Status = cluster.StatusFailed // it is not here
			}
			voters = append(voters, voter)
		}
	}
	s.Voters = countMembers(voters)
	return s, true
}

// countMembers counts members by status.
func countMembers(list []cluster.Member) map[string]int {
	out := map[string]int{string(cluster.StatusAlive): 0, string(cluster.StatusFailed): 0, string(cluster.StatusLeft): 0}
	for i := range list {
		out[string(list[i].Status)]++
	}
	return out
}

// cacheSize counts the bytes of cached results, once in a while.
type cacheSize struct {
	count func() int64

	mu sync.Mutex // guards following
	at time.Time
	n  int64
}

func (c *cacheSize) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.at) > cacheCounted {
		c.n, c.at = c.count(), now
	}
	return c.n
}
