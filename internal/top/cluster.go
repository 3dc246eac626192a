package top

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxRuns is how many runs are listed.
	maxRuns = 50
	// callLimit bounds a question, so that what is shown is never older without a
	// notice.
	callLimit = 5 * time.Second
	// memberLimit bounds the question to one member how far it is.
	memberLimit = time.Second
	// askedAtOnce is how many members are asked at the same time.
	askedAtOnce = 16
)

// Cluster answers the questions of the view and carries out its actions. Its methods
// are called from several goroutines, and end with ctx.
type Cluster interface {
	// State describes the nodes, Runs lists the newest runs.
	State(ctx context.Context) (State, error)
	Runs(ctx context.Context) ([]wire.RunSummary, error)
	// Run gives a run with the reasons for which modules wait.
	Run(ctx context.Context, id pipeline.RunID) (wire.Run, error)
	// Watch gives a run to fn now and after each change, until it has ended.
	Watch(ctx context.Context, id pipeline.RunID, fn func(wire.Run) error) error
	// Follow gives output to fn, from the last lines of each module on.
	Follow(ctx context.Context, id pipeline.RunID, module string, lines int, fn func(wire.LogEvent) error) error
	Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error)
	Cancel(ctx context.Context, id pipeline.RunID) error
	Retry(ctx context.Context, id pipeline.RunID) error
	Drain(ctx context.Context, node string, off bool) error
}

// State is the cluster at a moment.
type State struct {
	Health wire.Health
	Nodes  []Node
}

// Node is a member with what others say of it.
type Node struct {
	wire.Member
	// Reserved is what its modules have asked for, of what it has; zero if unknown.
	CPU, CPUs     float64
	Memory, Total int64
	// Lag is by how many entries it is behind the leader; -1 if it is no voter or does
	// not answer.
	Lag     int64
	Reasons []string
}

// Client makes a Cluster of a client.
func Client(api *client.Client) Cluster { return remote{api} }

type remote struct{ api *client.Client }

func (r remote) State(ctx context.Context) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	// Members first: it learns the addresses to which the client can turn.
	members, err := r.api.Cluster().Members(ctx)
	if err != nil {
		return State{}, err
	}

	s := State{Nodes: make([]Node, len(members.Members))}
	if s.Health, err = r.api.Health(ctx); err != nil {
		return s, err
	}

	var g errgroup.Group
	g.SetLimit(askedAtOnce)
	health := make([]wire.Health, len(s.Nodes))
	for i, m := range members.Members {
		s.Nodes[i] = Node{Member: m, Lag: -1}
		if m.Status != pipeline.MemberAlive {
			continue
		}
		g.Go(func() error {
			health[i] = r.healthOf(ctx, m)
			return nil
		})
	}
	_ = g.Wait() // it has no error

	r.measure(ctx, &s, health)
	slices.SortFunc(s.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return s, nil
}

// healthOf asks a member; the zero value if it cannot be reached from here.
func (r remote) healthOf(ctx context.Context, m wire.Member) wire.Health {
	ctx, cancel := context.WithTimeout(ctx, memberLimit)
	defer cancel()
	at, err := r.api.At(m.HTTP)
	if err != nil {
		return wire.Health{}
	}
	h, err := at.Health(ctx)
	if err != nil || h.NodeID != m.ID {
		return wire.Health{}
	}
	return h
}

// measure adds how far voters are behind the one that is farthest, and what is reserved
// on each node.
func (r remote) measure(ctx context.Context, s *State, health []wire.Health) {
	var newest uint64
	for _, h := range health {
		newest = max(newest, h.CommitIndex)
	}
	for i := range s.Nodes {
		if h := health[i]; h.NodeID != "" && s.Nodes[i].Role != "worker" {
			s.Nodes[i].Lag = int64(newest - h.AppliedIndex)
		}
		s.Nodes[i].Reasons = health[i].Reasons
	}

	workers, err := r.api.Workers().Brief(ctx)
	if err != nil {
		return // the rest is worth showing
	}
	for _, w := range workers.Workers {
		at := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Name == w.Name })
		if at < 0 {
			continue
		}
		n := &s.Nodes[at]
		n.CPU, n.CPUs, n.Memory, n.Total = w.Reserved.CPU, w.Capabilities.CPU, w.Reserved.Memory, w.Capabilities.Memory
	}
}

func (r remote) Runs(ctx context.Context) ([]wire.RunSummary, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	list, err := r.api.Runs().List(ctx, client.ListOptions{Limit: maxRuns})
	return list.Runs, err
}

func (r remote) Run(ctx context.Context, id pipeline.RunID) (wire.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return r.api.Runs().Get(ctx, id)
}

func (r remote) Watch(ctx context.Context, id pipeline.RunID, fn func(wire.Run) error) error {
	return r.api.Runs().Watch(ctx, id, fn)
}

func (r remote) Follow(ctx context.Context, id pipeline.RunID, module string, lines int, fn func(wire.LogEvent) error) error {
	o := client.FollowOptions{Lines: lines}
	if module != "" {
		o.Modules = []string{module}
	}
	return r.api.Runs().Follow(ctx, id, o, fn)
}

func (r remote) Why(ctx context.Context, id pipeline.RunID, module string) (wire.Why, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return r.api.Runs().Why(ctx, id, module)
}

func (r remote) Cancel(ctx context.Context, id pipeline.RunID) error {
	_, err := r.api.Runs().Cancel(ctx, id, "cancelled from pipelined top")
	return err
}

func (r remote) Retry(ctx context.Context, id pipeline.RunID) error {
	_, err := r.api.Runs().Retry(ctx, id, nil)
	return err
}

func (r remote) Drain(ctx context.Context, node string, off bool) error {
	return r.api.Cluster().Drain(ctx, node, wire.DrainRequest{Off: off})
}
