package service

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

// NodesConfig says what Nodes is made of. All fields are needed.
type NodesConfig struct {
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
	// StartedAt is when this process began.
	StartedAt time.Time
}

// Nodes collects what each node reports about itself. It implements api.Nodes.
type Nodes struct {
	cfg NodesConfig

	mu sync.Mutex // guards following; held while nodes are asked
	// at is when the last answer was complete.
	at   time.Time
	last wire.NodeReports
}

// NewNodes makes a Nodes.
func NewNodes(cfg NodesConfig) *Nodes { return &Nodes{cfg: cfg} }

// Register adds the message with which other nodes ask.
func (n *Nodes) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathNode, peer.Handle(func(context.Context, struct{}) (wire.NodeReport, error) { return n.own(), nil }))
}

// Nodes asks every node for its report. One that does not answer in time is listed
// without.
func (n *Nodes) Nodes(context.Context) (wire.NodeReports, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.at.IsZero() && time.Since(n.at) < nodesKept {
		return n.last, nil
	}

	var list []cluster.Member
	for _, m := range n.cfg.Members() {
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
			reports[i] = n.ask(m)
		})
	}
	wg.Wait()

	addLags(reports)
	n.last, n.at = wire.NodeReports{Nodes: reports, Findings: findings(reports)}, time.Now()
	return n.last, nil
}

// ask gets the report of one node. The answer is shared: it does not end with the
// caller who asked first.
func (n *Nodes) ask(m cluster.Member) wire.NodeReport {
	if m.ID == n.cfg.Self {
		return n.own()
	}
	ctx, cancel := context.WithTimeout(context.Background(), nodeTimeout)
	defer cancel()
	var out wire.NodeReport
	err := n.cfg.Peers.Call(ctx, m.ID, pathNode, struct{}{}, &out)
	switch {
	case err == nil:
		out.ID, out.Name = m.ID, m.Name
		return out
	case m.Status != cluster.StatusAlive:
		return wire.NodeReport{ID: m.ID, Name: m.Name, Missing: "it has failed"}
	}
	return wire.NodeReport{ID: m.ID, Name: m.Name, Missing: "it does not answer " + n.cfg.Name}
}

// own is what this node reports.
func (n *Nodes) own() wire.NodeReport {
	disk := n.cfg.Disk()
	out := wire.NodeReport{ID: n.cfg.Self, Name: n.cfg.Name, StartedAt: n.cfg.StartedAt.UTC(), Disk: &disk, GossipHealth: n.cfg.Health()}
	for id, lag := range n.cfg.Lags() {
		if out.Lags == nil {
			out.Lags = map[pipeline.NodeID]uint64{}
		}
		out.Lags[pipeline.NodeID(id)] = lag
	}
	for _, s := range n.cfg.Sights() {
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
