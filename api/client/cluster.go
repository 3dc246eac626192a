package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/pipelined/pipelined/api/wire"
)

// Locks lists the locks that are held or waited for.
func (cluster Cluster) Locks(ctx context.Context) (wire.LockList, error) {
	return do[wire.LockList](ctx, cluster.calls, &request{method: http.MethodGet, path: "/api/v1/locks", safe: true}, nil)
}

// Members lists the nodes of the cluster, and learns their addresses.
func (cluster Cluster) Members(ctx context.Context) (wire.MemberList, error) {
	list, err := do[wire.MemberList](ctx, cluster.calls, &request{method: http.MethodGet, path: "/api/v1/members", safe: true}, nil)
	if err == nil {
		cluster.calls.learn(list)
	}

	return list, err
}

// Nodes has what each node reports about itself and the others.
func (cluster Cluster) Nodes(ctx context.Context) (wire.NodeReports, error) {
	return do[wire.NodeReports](ctx, cluster.calls, &request{method: http.MethodGet, path: "/api/v1/nodes", safe: true}, nil)
}

// Waiting lists what waits in all runs, and for what.
func (cluster Cluster) Waiting(ctx context.Context) (wire.WaitingList, error) {
	return do[wire.WaitingList](ctx, cluster.calls, &request{method: http.MethodGet, path: "/api/v1/waiting", safe: true}, nil)
}

// Running lists the attempts under way; node "" means those of all nodes.
func (cluster Cluster) Running(ctx context.Context, node string) (wire.RunningList, error) {
	q := url.Values{}
	if node != "" {
		q.Set("node", node)
	}
	return do[wire.RunningList](ctx, cluster.calls, &request{method: http.MethodGet, path: "/api/v1/running", query: q, safe: true}, nil)
}

// Raft describes the consensus group.
func (cluster Cluster) Raft(ctx context.Context) (wire.RaftInfo, error) {
	return do[wire.RaftInfo](ctx, cluster.calls, &request{method: http.MethodGet, path: "/api/v1/raft", safe: true}, nil)
}

// Drain empties a node of work, or with Off takes it into use again.
func (cluster Cluster) Drain(ctx context.Context, node string, in wire.DrainRequest) error {
	return call(ctx, cluster.calls, http.MethodPost, "/api/v1/members"+path(node, "drain"), true, in)
}

// Remove takes a node that has failed out of the cluster.
func (cluster Cluster) Remove(ctx context.Context, node string) error {
	return call(ctx, cluster.calls, http.MethodDelete, "/api/v1/members"+path(node), true, nil)
}

// Leave removes a node from the cluster permanently; "" is the node that answers.
func (cluster Cluster) Leave(ctx context.Context, node string) error {
	if node == "" {
		return call(ctx, cluster.calls, http.MethodPost, "/api/v1/leave", false, nil)
	}
	return call(ctx, cluster.calls, http.MethodPost, "/api/v1/members"+path(node, "leave"), false, nil)
}
