package service

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

// RouterConfig says what Router is made of. All fields are needed.
type RouterConfig struct {
	Self    pipeline.NodeID
	State   *state.State
	Dialer  peer.Dialer
	Members func() []cluster.Member
}

// Router finds the node that serves a call. It implements api.Router.
type Router struct {
	self    pipeline.NodeID
	state   *state.State
	dialer  peer.Dialer
	members func() []cluster.Member
}

// NewRouter makes a Router.
func NewRouter(cfg RouterConfig) *Router {
	return &Router{self: cfg.Self, state: cfg.State, dialer: cfg.Dialer, members: cfg.Members}
}

// IsLeader reports whether the orchestrator runs here and is ready.
func (r *Router) IsLeader() bool { return r.state.Leading() }

// Verify proves that this node leads.
func (r *Router) Verify(ctx context.Context) (term uint64, err error) { return r.state.Verify(ctx) }

// HasState reports whether the replicated state is here.
func (r *Router) HasState() bool { return r.state.HasState() }

// Leader gives a transport to the leader's peer port.
func (r *Router) Leader(context.Context) (http.RoundTripper, *url.URL, error) {
	id, err := r.state.LeaderID()
	if err != nil {
		return nil, nil, err
	}
	if id == r.self {
		return nil, nil, pipeline.ErrNoLeader // elected, not ready yet
	}
	return r.to(id)
}

// Relay gives a transport to another node that holds the state, and may reach a leader
// that this node does not.
func (r *Router) Relay(context.Context) (http.RoundTripper, *url.URL, error) {
	replicas := r.state.Relays()
	if len(replicas) == 0 {
		return nil, nil, pipeline.ErrNoLeader
	}
	return r.to(replicas[rand.IntN(len(replicas))])
}

// Stateful gives a transport to a node that holds the state, the leader if it is
// known.
func (r *Router) Stateful(ctx context.Context) (http.RoundTripper, *url.URL, error) {
	if transport, base, err := r.Leader(ctx); err == nil {
		return transport, base, nil
	}
	if replicas := r.state.Replicas(); len(replicas) > 0 {
		return r.to(replicas[0])
	}
	return nil, nil, pipeline.ErrNoLeader
}

// Node gives a transport to a member, by name or id.
func (r *Router) Node(_ context.Context, name string) (http.RoundTripper, *url.URL, error) {
	m, err := findMember(r.members(), name)
	if err != nil {
		return nil, nil, err
	}
	return r.to(m.ID)
}

func (r *Router) to(id pipeline.NodeID) (http.RoundTripper, *url.URL, error) {
	client, base, err := r.dialer.Client(id)
	if err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(base)
	return client.Transport, u, err
}

// findMember finds a member by name or id.
func findMember(members []cluster.Member, name string) (cluster.Member, error) {
	var names, ids []string
	var found []cluster.Member
	for _, m := range members {
		if m.Status == cluster.StatusLeft {
			continue
		}
		if string(m.ID) == name || m.Name == name {
			found = append(found, m)
			ids = append(ids, fmt.Sprintf("%s (%s)", m.ID, m.Addr))
		}
		names = append(names, m.Name)
	}
	switch {
	case len(found) == 0:
		return cluster.Member{}, pipeline.Errorf(pipeline.NotFound, "no node %q: the cluster has %s", name, strings.Join(names, ", "))
	case len(found) > 1:
		return cluster.Member{}, pipeline.Errorf(pipeline.Conflict, "%d nodes have the name %q: use the node's id: %s", len(found), name, strings.Join(ids, ", "))
	}
	return found[0], nil
}
