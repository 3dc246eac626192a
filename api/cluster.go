package api

import (
	"context"
	"net/http"
	"time"

	"github.com/pipelined/pipelined/api/wire"
)

// Cluster is what the API needs of a node to show the cluster and to change
// its membership.
type Cluster interface {
	// Health describes this node and what it knows of the cluster.
	Health(ctx context.Context) wire.Health
	// Members lists the nodes, as this node sees them.
	Members(ctx context.Context) (wire.MemberList, error)
	// Nodes has what each node reports about itself and the others.
	Nodes(ctx context.Context) (wire.NodeReports, error)
	// Running lists the attempts under way, with a name those of one node: any node that
	// has the state.
	Running(ctx context.Context, node string) (wire.RunningList, error)
	// Raft describes the consensus group; it needs the replicated state.
	Raft(ctx context.Context) (wire.RaftInfo, error)
	// Drain stops or resumes the assignment of work to a node: leader.
	Drain(ctx context.Context, by Subject, node string, in wire.DrainRequest) error
	// Remove takes a node that has failed out of the cluster: leader.
	Remove(ctx context.Context, by Subject, node string) error
	// Leave removes this node from the cluster permanently. It returns once the
	// request is noted; the node leaves afterwards.
	Leave(ctx context.Context, by Subject) error
}

// healthTimeout bounds how long a node examines itself.
const healthTimeout = 5 * time.Second

type clusterHandler struct{ cluster Cluster }

// routes are the calls about the nodes of the cluster.
func (h *clusterHandler) routes() []Route {
	return []Route{
		{Method: "GET", Pattern: pathHealth,
			Summary: "health of the node and its cluster",
			Query:   []string{"ready", "leader"}, Response: doc[wire.Health](), serve: h.health},
		{Method: "GET", Pattern: "/api/v1/members", Role: RoleRead,
			Summary:  "the nodes of the cluster",
			Response: doc[wire.MemberList](), serve: h.members},
		{Method: "GET", Pattern: "/api/v1/nodes", Role: RoleRead,
			Summary:  "what each node reports: whom it reaches, its disk, how far it is behind",
			Response: doc[wire.NodeReports](), serve: h.nodes},
		{Method: "GET", Pattern: "/api/v1/running", Role: RoleRead, Where: OnState,
			Summary: "the attempts that are assigned or run, with node those of one node",
			Query:   []string{"node"}, Response: doc[wire.RunningList](), serve: h.running},
		{Method: "POST", Pattern: "/api/v1/members/{name}/drain", Role: RoleAdmin, Where: OnState,
			Summary: "drain a node, or end its draining",
			Body:    OptionalBody, Request: doc[wire.DrainRequest](), serve: h.drain},
		{Method: "POST", Pattern: "/api/v1/members/{name}/leave", Role: RoleAdmin, Where: OnNode,
			Summary: "remove a node from the cluster permanently",
			serve:   h.leave},
		{Method: "DELETE", Pattern: "/api/v1/members/{name}", Role: RoleAdmin, Where: OnLeader,
			Summary: "take a node that has failed out of the cluster",
			serve:   h.remove},
		{Method: "POST", Pattern: "/api/v1/leave", Role: RoleAdmin,
			Summary: "remove this node from the cluster permanently",
			serve:   h.leave},
		{Method: "GET", Pattern: "/api/v1/raft", Role: RoleRead, Where: OnState,
			Summary:  "the consensus group",
			Response: doc[wire.RaftInfo](), serve: h.raft},
	}
}

// member is the node's name or id in the path.
func (c *call) member() (string, error) {
	name := c.r.PathValue("name")
	if !token(name, 128) {
		return "", invalid("node %.80q: expected letters, digits, '.', '_' and '-'", name)
	}

	return name, nil
}

// health answers 200 if the node reaches a leader, else 503 with the same body.
// ?leader=1 is 200 on the leader alone; ?ready=1 is the default by its name.
func (h *clusterHandler) health(c *call) error {
	q := c.r.URL.Query()
	leader, err := flag(q, "leader")
	if err != nil {
		return err
	}
	if _, err := flag(q, "ready"); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(c.r.Context(), healthTimeout)
	defer cancel()
	out := h.cluster.Health(ctx)
	if out.Voters == nil {
		out.Voters = []string{}
	}
	if out.Reasons == nil {
		out.Reasons = []string{}
	}

	status := http.StatusOK
	if out.Leader == "" || !out.Quorum || leader && out.Role != "leader" {
		status = http.StatusServiceUnavailable
		c.w.Header().Set("Retry-After", "1")
	}
	c.json(status, out)
	return nil
}

func (h *clusterHandler) members(c *call) error {
	out, err := h.cluster.Members(c.r.Context())
	if out.Members == nil {
		out.Members = []wire.Member{}
	}
	return c.reply(out, err)
}

func (h *clusterHandler) nodes(c *call) error {
	out, err := h.cluster.Nodes(c.r.Context())
	return c.reply(out, err)
}

func (h *clusterHandler) running(c *call) error {
	node := c.r.URL.Query().Get("node")
	if node != "" && !token(node, 128) {
		return invalid("node %.80q: expected letters, digits, '.', '_' and '-'", node)
	}
	out, err := h.cluster.Running(c.r.Context(), node)
	return c.reply(out, err)
}

func (h *clusterHandler) raft(c *call) error {
	out, err := h.cluster.Raft(c.r.Context())
	if out.Servers == nil {
		out.Servers = []wire.RaftServer{}
	}
	return c.reply(out, err)
}

func (h *clusterHandler) drain(c *call) error {
	node, err := c.member()
	if err != nil {
		return err
	}

	in, err := document[wire.DrainRequest](c)
	if err != nil {
		return err
	}
	if in.DeadlineSeconds < 0 || in.DeadlineSeconds > 1e9 {
		return invalid("deadlineSeconds: expected 0 (no deadline) or more")
	}

	return c.done(h.cluster.Drain(c.r.Context(), c.by, node, in))
}

func (h *clusterHandler) remove(c *call) error {
	node, err := c.member()
	if err != nil {
		return err
	}
	return c.done(h.cluster.Remove(c.r.Context(), c.by, node))
}

func (h *clusterHandler) leave(c *call) error {
	return c.done(h.cluster.Leave(c.r.Context(), c.by))
}
