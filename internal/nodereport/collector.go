// Package nodereport collects what each node reports about itself and about the others,
// and finds the connections that do not work.
package nodereport

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	pathNode = "/peer/node"
	// nodeTimeout bounds the question to one node; gossip may take longer to notice
	// that it has failed.
	nodeTimeout = time.Second
	// nodesKept is how long an answer is given again, so that many viewers cost what
	// one does.
	nodesKept = time.Second
	// askedNodes is how many nodes are asked at the same time.
	askedNodes = 32
)

// Config says what a Collector is made of. All fields are needed.
type Config struct {
	Self    pipeline.NodeID
	Name    string
	Peers   *peer.Client
	Members func() []cluster.Member
	// Sights are what this node sees of the others; Lags how far followers are behind
	// this node, nil if it does not lead.
	Sights func() []cluster.Sight
	Lags   func() map[string]uint64
	Health func() int
	Disk   func() wire.DiskSpace
	// Commits are of the newest entries that this node proposed; nil if there are none.
	Commits func() *wire.CommitTimes
	// UnderReplicated is how many blobs have fewer copies than wanted.
	UnderReplicated func() int
	// StartedAt is when this process began.
	StartedAt time.Time
}

// Collector collects what each node reports about itself. It may be used concurrently.
type Collector struct {
	cfg Config

	// turn guards following: it has an element while a caller asks the nodes. The others
	// wait no longer than their own calls last.
	turn chan struct{}
	// at is when the last answer was complete.
	at   time.Time
	last wire.NodeReports
}

// New makes a Collector.
func New(cfg Config) *Collector { return &Collector{cfg: cfg, turn: make(chan struct{}, 1)} }

// Register adds the message with which other nodes ask.
func (c *Collector) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathNode, peer.Handle(func(context.Context, struct{}) (wire.NodeReport, error) { return c.own(), nil }))
}

// Collect asks every node for its report. One that does not answer in time is listed
// without.
func (c *Collector) Collect(ctx context.Context) (wire.NodeReports, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return wire.NodeReports{}, context.Cause(ctx)
	}
	if !c.at.IsZero() && time.Since(c.at) < nodesKept {
		return c.last, nil
	}

	var list []cluster.Member
	for _, m := range c.cfg.Members() {
		if m.Status != cluster.StatusLeft {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b cluster.Member) int { return strings.Compare(a.Name, b.Name) })

	reports := make([]wire.NodeReport, len(list))
	slots := make(chan struct{}, askedNodes)
	var wg sync.WaitGroup
	for i, m := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			reports[i] = c.ask(m)
		})
	}
	wg.Wait()

	addLags(reports)
	c.last, c.at = wire.NodeReports{Nodes: reports, Findings: findings(reports)}, time.Now()
	return c.last, nil
}

// ask gets the report of one node. The answer is shared: it does not end with the
// caller who asked first.
func (c *Collector) ask(m cluster.Member) wire.NodeReport {
	if m.ID == c.cfg.Self {
		return c.own()
	}
	ctx, cancel := context.WithTimeout(context.Background(), nodeTimeout)
	defer cancel()
	var out wire.NodeReport
	err := c.cfg.Peers.Call(ctx, m.ID, pathNode, struct{}{}, &out)
	switch {
	case err == nil:
		out.ID, out.Name = m.ID, m.Name
		return out
	case m.Status != cluster.StatusAlive:
		return wire.NodeReport{ID: m.ID, Name: m.Name, Missing: "it has failed"}
	}
	return wire.NodeReport{ID: m.ID, Name: m.Name, Missing: "it does not answer " + c.cfg.Name}
}

// own is what this node reports.
func (c *Collector) own() wire.NodeReport {
	disk := c.cfg.Disk()
	out := wire.NodeReport{ID: c.cfg.Self, Name: c.cfg.Name, StartedAt: c.cfg.StartedAt.UTC(), Disk: &disk, GossipHealth: c.cfg.Health(),
		Commits: c.cfg.Commits(), UnderReplicated: c.cfg.UnderReplicated()}
	for id, lag := range c.cfg.Lags() {
		if out.Lags == nil {
			out.Lags = map[pipeline.NodeID]uint64{}
		}
		out.Lags[pipeline.NodeID(id)] = lag
	}
	for _, s := range c.cfg.Sights() {
		sight := wire.Sight{Node: s.Name, Status: s.Status, RoundTripSeconds: s.RoundTrip.Seconds(), Hears: s.Hears}
		switch {
		case s.Status != cluster.StatusAlive || s.RoundTrip > 0:
		case s.Fresh:
			sight.Status = wire.SightNew
		default:
			sight.Status = wire.SightSilent
		}
		out.Sees = append(out.Sees, sight)
	}
	return out
}

// addLags gives each follower what the leader reports of it.
func addLags(reports []wire.NodeReport) {
	for _, leader := range reports {
		for i := range reports {
			if lag, ok := leader.Lags[reports[i].ID]; ok {
				reports[i].Lag = &lag
			}
		}
	}
}
