package api

import (
	"reflect"

	"github.com/pipelined/pipelined/api/wire"
)

// Where says which node serves a route.
type Where int

// The places of routes.
const (
	// Anywhere: the node that was asked.
	Anywhere Where = iota
	// OnState: any node that holds the replicated state.
	OnState
	// OnLeader: the leader; a read with ?stale=1 is served as OnState where the
	// route's Stale is set.
	OnLeader
	// OnNode: the node that the path names.
	OnNode
)

// Body says what a route reads.
type Body int

// The bodies of requests.
const (
	NoBody Body = iota
	// JSONBody is one JSON object; unknown fields are refused.
	JSONBody
	// OptionalBody is JSONBody, or nothing at all.
	OptionalBody
	// LenientBody is JSONBody with unknown fields ignored: the protocol's calls,
	// which programs of other versions and languages make.
	LenientBody
	// StreamBody is bytes of any number up to the route's limit.
	StreamBody
)

// Limits of documents, in bytes.
const (
	maxDocument = 1 << 20
	maxRunDoc   = 2 << 20
	// A follower of the largest runs gives a position a module.
	maxPositions = 8 << 20
)

// Route is a call of the API: how it is asked for, by whom, where it is
// served, and with what.
type Route struct {
	Method string
	// Pattern is a path of http.ServeMux.
	Pattern string
	Summary string
	// Role is the least that a caller must have; "" is open to all. Worker opens
	// the route to tokens of outside workers too.
	Role   Role
	Worker bool
	// Basic takes a token as the password of basic authentication too: programs
	// that are given an address take it from there.
	Basic bool
	Where Where
	Stale bool
	// Long marks calls that may wait or stream: a stopping node ends them.
	Long bool
	Body Body
	// MaxBody bounds the body, in bytes; 0 is the default of its kind.
	MaxBody int64
	// Query names the parameters that are understood.
	Query []string
	// Request and Response are the types of the JSON documents; nil where the
	// body is something else or nothing.
	Request, Response reflect.Type
	// Produces is the answer's media type where it is not JSON.
	Produces string

	serve func(*Server, *call) error
	// failure gives a protocol call its own body for failures.
	failure func(*Server, *call, wire.Problem) (status int, body any)
}

// Routes is the table of all calls, in the order of the documentation.
func Routes() []Route {
	var all []Route
	for _, group := range [...]func() []Route{protocolRoutes, runRoutes, scheduleRoutes, blobRoutes, cacheRoutes, toolRoutes, estimateRoutes, clusterRoutes} {
		all = append(all, group()...)
	}
	return all
}

func doc[T any]() reflect.Type { return reflect.TypeFor[T]() }

func protocolRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: pathHealth, Summary: "how the node and its cluster are", Query: []string{"ready", "leader"},
			Response: doc[wire.Health](), serve: (*Server).health},
		{Method: "POST", Pattern: "/api/execution/execute", Summary: "run one module on this node", Role: RoleSubmit, Long: true,
			Body: LenientBody, MaxBody: maxRunDoc, Request: doc[wire.ExecuteRequest](), Response: doc[wire.ExecuteResponse](),
			serve: (*Server).execute, failure: executeFailure},
		{Method: "POST", Pattern: "/api/execution/cancel", Summary: "stop an execution", Role: RoleSubmit,
			Body: LenientBody, Request: doc[wire.CancelExecution](), Response: doc[wire.Success](),
			serve: (*Server).cancelExecution, failure: plainFailure},
		{Method: "POST", Pattern: "/api/execution/result", Summary: "hand in the result of an outside worker's execution", Role: RoleAdmin, Worker: true, Where: OnLeader,
			Body: LenientBody, MaxBody: maxRunDoc, Request: doc[wire.ExecuteResponse](), Response: doc[wire.ResultResponse](),
			serve: (*Server).result},
		{Method: "POST", Pattern: "/api/workers/register", Summary: "join as an outside worker", Role: RoleAdmin, Worker: true, Where: OnLeader,
			Body: LenientBody, Request: doc[wire.RegisterRequest](), Response: doc[wire.RegisterResponse](),
			serve: (*Server).register, failure: registerFailure},
		{Method: "POST", Pattern: "/api/workers/heartbeat", Summary: "stay as an outside worker", Role: RoleAdmin, Worker: true, Where: OnLeader,
			Body: LenientBody, Request: doc[wire.HeartbeatRequest](), Response: doc[wire.HeartbeatResponse](),
			serve: (*Server).heartbeat},
		{Method: "GET", Pattern: "/api/workers", Summary: "who can execute modules", Role: RoleRead, Worker: true, Where: OnLeader, Stale: true,
			Response: doc[wire.WorkerList](), serve: (*Server).workers},
		{Method: "DELETE", Pattern: "/api/workers/{id}", Summary: "forget an outside worker", Role: RoleAdmin, Worker: true, Where: OnLeader,
			Response: doc[wire.Success](), serve: (*Server).forgetWorker, failure: plainFailure},
	}
}

func runRoutes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/runs", Summary: "submit a pipeline", Role: RoleSubmit, Body: JSONBody, MaxBody: maxRunDoc,
			Request: doc[wire.SubmitRequest](), Response: doc[wire.RunCreated](), serve: (*Server).submit},
		{Method: "GET", Pattern: "/api/v1/runs", Summary: "runs, newest first", Role: RoleRead, Where: OnLeader, Stale: true,
			Query: []string{"limit", "cursor", "state", "pipeline", "stale"}, Response: doc[wire.RunList](), serve: (*Server).runs},
		{Method: "GET", Pattern: "/api/v1/runs/{id}", Summary: "one run with its modules; with index and wait, once it has changed", Role: RoleRead, Where: OnLeader, Stale: true, Long: true,
			Query: []string{"index", "wait", "since", "stale"}, Response: doc[wire.Run](), serve: (*Server).run},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/cancel", Summary: "stop a run", Role: RoleSubmit, Where: OnLeader, Body: OptionalBody,
			Request: doc[wire.CancelRequest](), Response: doc[wire.RunSummary](), serve: (*Server).cancel},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/retry", Summary: "make a run that is over go on", Role: RoleSubmit, Where: OnLeader, Body: OptionalBody,
			Request: doc[wire.RetryRequest](), Response: doc[wire.RunSummary](), serve: (*Server).retry},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/pin", Summary: "keep a run whole whatever the limits say", Role: RoleSubmit, Where: OnLeader,
			Response: doc[wire.RunSummary](), serve: func(s *Server, c *call) error { return s.pin(c, true) }},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/unpin", Summary: "let the limits hold for a run again", Role: RoleSubmit, Where: OnLeader,
			Response: doc[wire.RunSummary](), serve: func(s *Server, c *call) error { return s.pin(c, false) }},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/{module}/approve", Summary: "approve what a module waits for", Role: RoleSubmit, Where: OnLeader, Body: OptionalBody,
			Request: doc[wire.ApproveRequest](), Response: doc[wire.Module](), serve: (*Server).approve},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/{module}/reject", Summary: "reject what a module waits for", Role: RoleSubmit, Where: OnLeader, Body: OptionalBody,
			Request: doc[wire.RejectRequest](), Response: doc[wire.Module](), serve: (*Server).reject},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/why", Summary: "why a run or a module is where it is", Role: RoleRead, Where: OnLeader,
			Query: []string{"module"}, Response: doc[wire.Why](), serve: (*Server).why},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/logs", Summary: "the output of all modules, as events", Role: RoleRead, Where: OnState, Long: true,
			Query: []string{"follow", "module", "lines", "since", "timestamps"}, Produces: mediaEvents, serve: (*Server).followAll},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/logs", Summary: "the output of all modules from given positions on, as events", Role: RoleRead, Where: OnState, Long: true,
			Body: OptionalBody, MaxBody: maxPositions, Request: doc[wire.FollowRequest](), Produces: mediaEvents, serve: (*Server).followFrom},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/modules/{module}/logs", Summary: "the output of one attempt, or with follow the module's as events", Role: RoleRead, Where: OnState, Long: true,
			Query: []string{"attempt", "offset", "tail", "follow", "lines", "since", "timestamps"}, Produces: mediaText, serve: (*Server).moduleLog},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/{module}/exec", Summary: "a process in the module's folder, over an upgraded connection", Role: RoleAdmin, Long: true,
			Body: OptionalBody, Request: doc[wire.ExecRequest](), Produces: wire.ExecProtocol, serve: (*Server).exec},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/artifacts", Summary: "output files", Role: RoleRead, Where: OnLeader, Stale: true,
			Query: []string{"module", "stale"}, Response: doc[wire.ArtifactList](), serve: (*Server).artifacts},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/artifacts/{module}/{path...}", Summary: "one output file", Role: RoleRead, Where: OnState,
			Produces: mediaBytes, serve: (*Server).artifact},
	}
}

func blobRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/blobs/{digest}", Summary: "a blob, from whichever node has it", Role: RoleRead, Worker: true,
			Query: []string{"local"}, Produces: mediaBytes, serve: (*Server).blob},
		{Method: "PUT", Pattern: "/api/v1/blobs/{digest}", Summary: "store a blob on this node", Role: RoleSubmit, Worker: true, Body: StreamBody,
			serve: (*Server).putBlob},
		{Method: "POST", Pattern: "/api/v1/blobs/missing", Summary: "which blobs this node lacks", Role: RoleSubmit, Body: JSONBody,
			Request: doc[wire.MissingRequest](), Response: doc[wire.MissingResponse](), serve: (*Server).missing},
		{Method: "POST", Pattern: "/api/v1/blobs/get", Summary: "small blobs as one bundle, from whichever node has them", Role: RoleRead, Body: JSONBody,
			Request: doc[wire.BundleRequest](), Produces: mediaBytes, serve: (*Server).getBundle},
		{Method: "POST", Pattern: "/api/v1/blobs", Summary: "store a bundle of blobs on this node", Role: RoleSubmit, Body: StreamBody,
			Response: doc[wire.BundleResponse](), serve: (*Server).putBundle},
	}
}

func clusterRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/members", Summary: "the nodes of the cluster", Role: RoleRead,
			Response: doc[wire.MemberList](), serve: (*Server).members},
		{Method: "POST", Pattern: "/api/v1/members/{name}/drain", Summary: "empty a node of work, or take it into use again", Role: RoleAdmin, Where: OnLeader, Body: OptionalBody,
			Request: doc[wire.DrainRequest](), serve: (*Server).drain},
		{Method: "POST", Pattern: "/api/v1/members/{name}/leave", Summary: "take a node out of the cluster", Role: RoleAdmin, Where: OnNode,
			serve: (*Server).leave},
		{Method: "POST", Pattern: "/api/v1/leave", Summary: "take this node out of the cluster", Role: RoleAdmin, serve: (*Server).leave},
		{Method: "GET", Pattern: "/api/v1/locks", Summary: "the locks that are held or waited for", Role: RoleRead, Where: OnLeader,
			Response: doc[wire.LockList](), serve: (*Server).locks},
		{Method: "GET", Pattern: "/api/v1/raft", Summary: "the consensus group", Role: RoleRead, Where: OnState,
			Response: doc[wire.RaftInfo](), serve: (*Server).raft},
		{Method: "POST", Pattern: "/api/v1/tokens", Summary: "make a token; the answer shows it this once", Role: RoleAdmin, Where: OnLeader, Body: JSONBody,
			Request: doc[wire.TokenRequest](), Response: doc[wire.TokenCreated](), serve: (*Server).createToken},
		{Method: "GET", Pattern: "/api/v1/tokens", Summary: "the tokens, without their secrets", Role: RoleAdmin, Where: OnLeader,
			Response: doc[wire.TokenList](), serve: (*Server).tokens},
		{Method: "DELETE", Pattern: "/api/v1/tokens/{id}", Summary: "revoke a token", Role: RoleAdmin, Where: OnLeader,
			serve: (*Server).deleteToken},
		{Method: "PUT", Pattern: "/api/v1/secrets/{name}", Summary: "set a secret, or replace it", Role: RoleAdmin, Body: JSONBody,
			Request: doc[wire.SecretRequest](), Response: doc[wire.SecretInfo](), serve: (*Server).setSecret},
		{Method: "GET", Pattern: "/api/v1/secrets", Summary: "the names of the secrets, never their values", Role: RoleSubmit, Where: OnLeader,
			Response: doc[wire.SecretList](), serve: (*Server).secrets},
		{Method: "DELETE", Pattern: "/api/v1/secrets/{name}", Summary: "remove a secret", Role: RoleAdmin, serve: (*Server).deleteSecret},
	}
}
