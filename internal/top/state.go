package top

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// State is the cluster at a moment.
type State struct {
	Health wire.Health
	Nodes  []Node
	// Commits are how long the leader's newest entries took; nil if that is not known.
	Commits *wire.CommitTimes
	// Findings are sentences on connections that do not work.
	Findings []string
	// Waiting counts the modules of all runs that wait, by what they wait for.
	Waiting map[string]int
}

// Node is a member with what others say of it.
type Node struct {
	wire.Member
	// Reserved is what its modules have asked for, of what it has; zero if unknown.
	CPU, CPUs     float64
	Memory, Total int64
	// Engine is its container engine, "" if it has none.
	Engine string
	// Lag is by how many entries it is behind the leader; -1 if it does not follow one,
	// or that is not known.
	Lag int64
	// Disk is that of its data directory; nil if it has not reported.
	Disk *wire.DiskSpace
	// Viewers is how many others have reported whether they reach it, Missed how many of
	// them do not.
	Viewers, Missed int
	Reasons         []string
}

// stateReader asks for the parts of a State.
type stateReader struct {
	api   *client.Client
	state State
}

// read asks for everything. What only adds to the picture may be missing.
func (r *stateReader) read(ctx context.Context) error {
	// Members first: it learns the addresses to which the client can turn.
	members, err := r.api.Cluster().Members(ctx)
	if err != nil {
		return err
	}
	if r.state.Health, err = r.api.Health(ctx); err != nil {
		return err
	}

	r.state.Nodes = make([]Node, len(members.Members))
	for i, m := range members.Members {
		r.state.Nodes[i] = Node{Member: m, Lag: -1}
	}
	slices.SortFunc(r.state.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	r.askNodes(ctx)
	r.state.dropShared()
	r.addReports(ctx)
	r.addWorkers(ctx)
	if waiting, err := r.api.Cluster().Waiting(ctx); err == nil {
		r.state.Waiting = waiting.Modules
	}
	return nil
}

// askNodes asks each node what is wrong with it.
func (r *stateReader) askNodes(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(askedAtOnce)
	for i := range r.state.Nodes {
		if n := &r.state.Nodes[i]; n.Status == pipeline.MemberAlive {
			g.Go(func() error {
				n.Reasons = r.reasonsOf(ctx, n.Member)
				return nil
			})
		}
	}
	_ = g.Wait() // it has no error
}

// dropShared leaves out of the nodes what several say of the cluster, such as that a
// voter does not answer: it stands in the head.
func (s *State) dropShared() {
	given := map[string]int{}
	for i := range s.Nodes {
		for _, why := range s.Nodes[i].Reasons {
			given[why]++
		}
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Reasons = slices.DeleteFunc(n.Reasons, func(why string) bool { return given[why] > 1 && slices.Contains(s.Health.Reasons, why) })
	}
}

// reasonsOf asks a member; nil if it cannot be reached from here.
func (r *stateReader) reasonsOf(ctx context.Context, m wire.Member) []string {
	ctx, cancel := context.WithTimeout(ctx, memberLimit)
	defer cancel()
	at, err := r.api.At(m.HTTP)
	if err != nil {
		return nil
	}
	h, err := at.Health(ctx)
	if err != nil || h.NodeID != m.ID {
		return nil
	}
	return h.Reasons
}

// node is the one with a name; nil for none.
func (r *stateReader) node(name string) *Node {
	if at := slices.IndexFunc(r.state.Nodes, func(n Node) bool { return n.Name == name }); at >= 0 {
		return &r.state.Nodes[at]
	}
	return nil
}

// addReports adds what the nodes report about themselves and each other.
func (r *stateReader) addReports(ctx context.Context) {
	reports, err := r.api.Cluster().Nodes(ctx)
	if err != nil {
		return
	}

	r.state.Findings = reports.Findings
	for i := range reports.Nodes {
		report := &reports.Nodes[i]
		if report.Name == r.state.Health.Leader {
			r.state.Commits = report.Commits
		}
		if n := r.node(report.Name); n != nil {
			n.Disk = report.Disk
			switch {
			case report.Lag != nil:
				n.Lag = int64(*report.Lag)
			case n.Role == "leader":
				n.Lag = 0
			}
		}
		for _, s := range report.Sees {
			n := r.node(s.Node)
			if n == nil || s.Status == wire.SightNew {
				continue
			}
			n.Viewers++
			if s.Status != pipeline.MemberAlive {
				n.Missed++
			}
		}
	}
}

// addWorkers adds what is reserved on each node.
func (r *stateReader) addWorkers(ctx context.Context) {
	workers, err := r.api.Workers().Brief(ctx)
	if err != nil {
		return
	}
	for _, w := range workers.Workers {
		if n := r.node(w.Name); n != nil {
			n.CPU, n.CPUs, n.Memory, n.Total = w.Reserved.CPU, w.Capabilities.CPU, w.Reserved.Memory, w.Capabilities.Memory
			n.Engine = w.Capabilities.ContainerEngine
		}
	}
}
