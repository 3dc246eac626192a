package api

import (
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Routes is the table of all calls, in the order of the documentation. It is
// the only list of them: what a call is for, who may make it, which node serves
// it, and its documents.
func Routes() []Route { return newHandlers(Config{}).routes() }

func (h *handlers) routes() []Route {
	var all []Route
	for _, group := range [...]func() []Route{
		h.protocolRoutes, h.runRoutes, h.outputRoutes, h.historyRoutes, h.scheduleRoutes, h.blobRoutes,
		h.cacheRoutes, h.entryRoutes, h.turboRoutes, h.estimateRoutes, h.clusterRoutes, h.accessRoutes, h.webhookRoutes, h.metricsRoutes,
	} {
		all = append(all, group()...)
	}

	return all
}

// protocolRoutes are the calls of the execution protocol, which programs of
// other languages make too.
func (h *handlers) protocolRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: pathHealth,
			Summary: "health of the node and its cluster",
			Query:   []string{"ready", "leader"}, Response: doc[wire.Health](), serve: h.cluster.health},
		{Method: "POST", Pattern: "/api/execution/execute", Role: RoleSubmit, Long: true,
			Summary: "run one module on this node",
			Body:    LenientBody, MaxBody: maxRunDoc, Request: doc[wire.ExecuteRequest](),
			Response: doc[wire.ExecuteResponse](), serve: h.executions.execute, failure: executeFailure},
		{Method: "POST", Pattern: "/api/execution/cancel", Role: RoleSubmit,
			Summary: "cancel an execution",
			Body:    LenientBody, Request: doc[wire.CancelExecution](), Response: doc[wire.Success](),
			serve: h.executions.cancel, failure: plainFailure},
		{Method: "POST", Pattern: "/api/execution/result", Role: RoleAdmin, Worker: true, Where: OnLeader,
			Summary: "report the outcome of an external worker's execution",
			Body:    LenientBody, MaxBody: maxRunDoc, Request: doc[wire.ExecuteResponse](),
			Response: doc[wire.ResultResponse](), serve: h.workers.result},
		{Method: "POST", Pattern: "/api/workers/register", Role: RoleAdmin, Worker: true, Where: OnState,
			Summary: "register an external worker",
			Body:    LenientBody, Request: doc[wire.RegisterRequest](), Response: doc[wire.RegisterResponse](),
			serve: h.workers.register, failure: registerFailure},
		{Method: "POST", Pattern: "/api/workers/heartbeat", Role: RoleAdmin, Worker: true, Where: OnLeader,
			Summary: "extend the lease of an external worker",
			Body:    LenientBody, Request: doc[wire.HeartbeatRequest](), Response: doc[wire.HeartbeatResponse](),
			serve: h.workers.heartbeat},
		{Method: "GET", Pattern: "/api/workers", Role: RoleRead, Worker: true, Where: OnLeader, Stale: true,
			Summary: "the workers, external ones and nodes",
			Query:   []string{"brief", "stale"}, Response: doc[wire.WorkerList](), serve: h.workers.list},
		{Method: "DELETE", Pattern: "/api/workers/{id}", Role: RoleAdmin, Worker: true, Where: OnState,
			Summary:  "remove an external worker",
			Response: doc[wire.Success](), serve: h.workers.forget, failure: plainFailure},
	}
}

func (h *handlers) runRoutes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/runs", Role: RoleSubmit,
			Summary: "submit a pipeline",
			Body:    JSONBody, MaxBody: maxRunDoc, Request: doc[wire.SubmitRequest](),
			Response: doc[wire.RunCreated](), serve: h.runs.submit},
		{Method: "GET", Pattern: "/api/v1/runs", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "runs, newest first",
			Query:   []string{"limit", "cursor", "state", "pipeline", "q", "stale"}, Response: doc[wire.RunList](),
			serve: h.runs.list},
		{Method: "GET", Pattern: "/api/v1/runs/{id}", Role: RoleRead, Where: OnLeader, Stale: true,
			Long:    true,
			Summary: "one run with its modules; with index and wait, after its next change",
			Query:   []string{"index", "wait", "since", "brief", "stale"}, Response: doc[wire.Run](), serve: h.runs.get},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/graph", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "what the modules of a run wait for, with a drawing and without states",
			Query:   []string{"fold", "unfold", "stale"}, Response: doc[wire.Graph](), serve: h.runs.graph},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/cancel", Role: RoleSubmit, Where: OnState,
			Summary: "cancel a run",
			Body:    OptionalBody, Request: doc[wire.CancelRequest](), Response: doc[wire.RunSummary](),
			serve: h.runs.cancel},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/retry", Role: RoleSubmit, Where: OnState,
			Summary: "resume a finished run where it failed",
			Body:    OptionalBody, Request: doc[wire.RetryRequest](), Response: doc[wire.RunSummary](),
			serve: h.runs.retry},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/pin", Role: RoleSubmit, Where: OnState,
			Summary:  "exempt a run from retention",
			Response: doc[wire.RunSummary](), serve: h.runs.pin},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/unpin", Role: RoleSubmit, Where: OnState,
			Summary:  "make a run subject to retention again",
			Response: doc[wire.RunSummary](), serve: h.runs.unpin},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/{module}/approve", Role: RoleSubmit, Where: OnState,
			Summary: "approve a module that waits for an approval",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.ApproveRequest](), Response: doc[wire.Module](),
			serve: h.runs.approve},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/{module}/reject", Role: RoleSubmit, Where: OnState,
			Summary: "reject a module that waits for an approval",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.RejectRequest](), Response: doc[wire.Module](),
			serve: h.runs.reject},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/approve", Role: RoleSubmit, Where: OnState,
			Summary: "approve a module that the query names",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.ApproveRequest](), Response: doc[wire.Module](),
			serve: h.runs.approve},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/reject", Role: RoleSubmit, Where: OnState,
			Summary: "reject a module that the query names",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.RejectRequest](), Response: doc[wire.Module](),
			serve: h.runs.reject},
		{Method: "GET", Pattern: "/api/v1/approvals", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "the modules that wait for an approval, over all runs",
			Query:   []string{"stale"}, Response: doc[wire.ApprovalList](), serve: h.runs.approvals},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/why", Role: RoleRead, Where: OnLeader,
			Summary: "why a run or a module is in its state",
			Query:   []string{"module"}, Response: doc[wire.Why](), serve: h.runs.why},
	}
}

// logParameters are those of the two calls for the output of one module.
var logParameters = []string{"module", "attempt", "offset", "tail", "follow", "lines", "since", "timestamps",
	"line", "count", "search", "case", "regexp", "from", "limit", "meta"}

func (h *handlers) outputRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/stream", Role: RoleRead, Where: OnState, Long: true,
			Summary: "what changes of runs and nodes, and what happened, as events",
			Query:   []string{"topic", "since"}, Produces: mediaEvents, serve: h.streams.stream},
		{Method: "GET", Pattern: "/api/v1/events", Role: RoleRead, Where: OnState, Long: true,
			Summary: "what happened, oldest first; with wait, what happens next",
			Query:   []string{"since", "limit", "wait", "run", "type"}, Response: doc[wire.EventList](), serve: h.streams.events},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/logs", Role: RoleRead, Where: OnState, Long: true,
			Summary: "the output of all modules, as events",
			Query:   []string{"follow", "module", "lines", "since", "timestamps"}, Produces: mediaEvents,
			serve: h.logs.followAll},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/logs", Role: RoleRead, Where: OnState, Long: true,
			Summary: "the output of all modules from given positions, as events",
			Body:    OptionalBody, MaxBody: maxPositions, Request: doc[wire.FollowRequest](), Produces: mediaEvents,
			serve: h.logs.followFrom},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/modules/{module}/logs", Role: RoleRead, Where: OnState,
			Long:     true,
			Summary:  "the output of one attempt, or with follow that of the module as events",
			Query:    logParameters,
			Produces: mediaText, serve: h.logs.module},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/modules/logs", Role: RoleRead, Where: OnState, Long: true,
			Summary: "the output of a module that the query names",
			Query:   logParameters, Produces: mediaText, serve: h.logs.module},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/{module}/exec", Role: RoleAdmin, Long: true,
			Summary: "a process in the module's directory, over an upgraded connection",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.ExecRequest](), Produces: wire.ExecProtocol,
			serve: h.sessions.exec},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/exec", Role: RoleAdmin, Long: true,
			Summary: "a process in the directory of a module that the query names",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.ExecRequest](), Produces: wire.ExecProtocol,
			serve: h.sessions.exec},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/artifacts", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "artifacts of a run",
			Query:   []string{"module", "stale"}, Response: doc[wire.ArtifactList](), serve: h.artifacts.list},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/artifacts/{module}/{path...}", Role: RoleRead,
			Where:   OnState,
			Summary: "one artifact",
			Query:   []string{"module"}, Produces: mediaBytes, serve: h.artifacts.open},
		{Method: "GET", Pattern: "/api/v1/runs/{id}/artifact", Role: RoleRead, Where: OnState,
			Summary: "one artifact that the query names",
			Query:   []string{"module", "path"}, Produces: mediaBytes, serve: h.artifacts.open},
	}
}

func (h *handlers) scheduleRoutes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/schedules", Role: RoleSubmit, Shared: true,
			Summary: "register a pipeline for its schedule, or replace it",
			Body:    JSONBody, MaxBody: maxRunDoc, Request: doc[wire.SubmitRequest](),
			Response: doc[wire.Schedule](), serve: h.schedules.register},
		{Method: "GET", Pattern: "/api/v1/schedules", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "the schedules that are registered",
			Query:   []string{"days", "stale"}, Response: doc[wire.ScheduleList](), serve: h.schedules.list},
		{Method: "GET", Pattern: "/api/v1/schedules/{name}", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "one schedule with its last ticks",
			Query:   []string{"stale"}, Response: doc[wire.Schedule](), serve: h.schedules.get},
		{Method: "DELETE", Pattern: "/api/v1/schedules/{name}", Role: RoleSubmit, Shared: true,
			Summary:  "remove a schedule; its runs stay",
			Response: doc[wire.Success](), serve: h.schedules.remove},
		{Method: "POST", Pattern: "/api/v1/schedules/{name}/pause", Role: RoleSubmit, Shared: true,
			Summary:  "pause a schedule",
			Response: doc[wire.Schedule](), serve: h.schedules.pause},
		{Method: "POST", Pattern: "/api/v1/schedules/{name}/resume", Role: RoleSubmit, Shared: true,
			Summary:  "resume a paused schedule",
			Response: doc[wire.Schedule](), serve: h.schedules.resume},
		{Method: "POST", Pattern: "/api/v1/schedules/{name}/trigger", Role: RoleSubmit,
			Summary:  "create a run of a schedule now",
			Response: doc[wire.RunCreated](), serve: h.schedules.trigger},
	}
}

func (h *handlers) blobRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/blobs/{digest}", Role: RoleRead, Worker: true,
			Summary: "a blob, from whichever node has it",
			Query:   []string{"local"}, Produces: mediaBytes, serve: h.blobs.get},
		{Method: "PUT", Pattern: "/api/v1/blobs/{digest}", Role: RoleSubmit, Worker: true,
			Summary: "store a blob on this node",
			Body:    StreamBody, serve: h.blobs.put},
		{Method: "POST", Pattern: "/api/v1/blobs/missing", Role: RoleSubmit,
			Summary: "which blobs are missing on this node",
			Body:    JSONBody, Request: doc[wire.MissingRequest](), Response: doc[wire.MissingResponse](),
			serve: h.blobs.missing},
		{Method: "POST", Pattern: "/api/v1/blobs/get", Role: RoleRead,
			Summary: "small blobs as one bundle, from whichever node has them",
			Body:    JSONBody, Request: doc[wire.BundleRequest](), Produces: mediaBytes, serve: h.blobs.getBundle},
		{Method: "POST", Pattern: "/api/v1/blobs", Role: RoleSubmit,
			Summary: "store a bundle of blobs on this node",
			Body:    StreamBody, Response: doc[wire.BundleResponse](), serve: h.blobs.putBundle},
	}
}

func (h *handlers) cacheRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/cache", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "cached results",
			Query:   []string{"pipeline", "limit", "cursor", "stale"}, Response: doc[wire.CacheList](),
			serve: h.cache.list},
		{Method: "GET", Pattern: "/api/v1/cache/stats", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "number of cached results, hits and misses",
			Query:   []string{"stale"}, Response: doc[wire.CacheStats](), serve: h.cache.stats},
		{Method: "POST", Pattern: "/api/v1/cache/lookup", Role: RoleSubmit, Where: OnLeader,
			Summary: "which modules of a pipeline would use a cached result",
			Body:    JSONBody, MaxBody: maxRunDoc, Request: doc[wire.SubmitRequest](),
			Response: doc[wire.CacheForecast](), serve: h.cache.lookup},
		{Method: "POST", Pattern: "/api/v1/cache/prune", Role: RoleAdmin, Where: OnState,
			Summary: "remove cached results, or entries of remote caches",
			Body:    JSONBody, Request: doc[wire.CachePrune](), Response: doc[wire.CachePruned](),
			serve: h.cache.prune},
		{Method: "GET", Pattern: "/api/v1/cache/tools", Role: RoleRead, Where: OnLeader, Stale: true,
			Summary: "entries of remote caches",
			Query:   []string{"kind", "limit", "cursor", "stale"}, Response: doc[wire.ToolList](),
			serve: h.remote.list},
	}
}

// entryRoutes are the remote cache of Bazel, which ccache speaks too.
func (h *handlers) entryRoutes() []Route {
	spaces := [...]struct {
		name pipeline.ToolSpace
		what string
	}{
		{pipeline.ToolActions, "an entry of a remote cache under a key of its tool"},
		{pipeline.ToolContents, "an entry of a remote cache under its SHA-256"},
	}

	var all []Route
	for _, prefix := range [...]string{"", "/{team}"} {
		for _, space := range spaces {
			pattern, at := prefix+"/"+string(space.name)+"/{key}", h.remote.in(space.name)
			all = append(all,
				Route{Method: "GET", Pattern: pattern, Role: RoleRead, Basic: true,
					Summary: space.what, Produces: mediaBytes, serve: at.get},
				Route{Method: "PUT", Pattern: pattern, Role: RoleSubmit, Basic: true, Shared: true,
					Summary: "store " + space.what, Body: StreamBody, serve: at.put},
				Route{Method: "DELETE", Pattern: pattern, Role: RoleSubmit, Basic: true, Shared: true,
					Summary: "remove " + space.what, serve: at.delete})
		}
	}

	return all
}

// turboRoutes are the remote cache of Turborepo.
func (h *handlers) turboRoutes() []Route {
	teams := []string{"teamId", "slug"}

	return []Route{
		{Method: "GET", Pattern: "/v8/artifacts/{hash}", Role: RoleRead, Basic: true,
			Summary: "an artifact of Turborepo",
			Query:   teams, Produces: mediaBytes, serve: h.turbo.get},
		{Method: "PUT", Pattern: "/v8/artifacts/{hash}", Role: RoleSubmit, Basic: true, Shared: true,
			Summary: "store an artifact of Turborepo",
			Body:    StreamBody, Query: teams, Response: doc[wire.TurboStored](), serve: h.turbo.put},
		{Method: "POST", Pattern: "/v8/artifacts", Role: RoleRead, Basic: true,
			Summary: "which artifacts of Turborepo exist",
			Body:    LenientBody, Query: teams, Request: doc[wire.TurboQuery](),
			Response: doc[map[string]*wire.TurboArtifact](), serve: h.turbo.query},
		{Method: "GET", Pattern: "/v8/artifacts/status", Role: RoleRead, Basic: true,
			Summary: "whether Turborepo may use this cache",
			Query:   teams, Response: doc[wire.TurboStatus](), serve: h.turbo.status},
		{Method: "POST", Pattern: "/v8/artifacts/events", Role: RoleRead, Basic: true,
			Summary: "hits and misses of Turborepo; they are not stored",
			Body:    StreamBody, Query: teams, Response: doc[struct{}](), serve: h.turbo.events},
	}
}

func (h *handlers) estimateRoutes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/estimate", Role: RoleSubmit, Where: OnLeader,
			Summary: "predicted duration of a run, and where its modules would run",
			Body:    JSONBody, MaxBody: maxRunDoc, Request: doc[wire.SubmitRequest](),
			Response: doc[wire.Estimate](), serve: h.runs.estimate},
	}
}

func (h *handlers) clusterRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/members", Role: RoleRead,
			Summary:  "the nodes of the cluster",
			Response: doc[wire.MemberList](), serve: h.cluster.members},
		{Method: "GET", Pattern: "/api/v1/nodes", Role: RoleRead,
			Summary:  "what each node reports: whom it reaches, its disk, how far it is behind",
			Response: doc[wire.NodeReports](), serve: h.cluster.nodes},
		{Method: "POST", Pattern: "/api/v1/members/{name}/drain", Role: RoleAdmin, Where: OnState,
			Summary: "drain a node, or end its draining",
			Body:    OptionalBody, Request: doc[wire.DrainRequest](), serve: h.cluster.drain},
		{Method: "POST", Pattern: "/api/v1/members/{name}/leave", Role: RoleAdmin, Where: OnNode,
			Summary: "remove a node from the cluster permanently",
			serve:   h.cluster.leave},
		{Method: "DELETE", Pattern: "/api/v1/members/{name}", Role: RoleAdmin, Where: OnLeader,
			Summary: "take a node that has failed out of the cluster",
			serve:   h.cluster.remove},
		{Method: "POST", Pattern: "/api/v1/leave", Role: RoleAdmin,
			Summary: "remove this node from the cluster permanently",
			serve:   h.cluster.leave},
		{Method: "GET", Pattern: "/api/v1/waiting", Role: RoleRead, Where: OnLeader,
			Summary:  "what waits in all runs, and for what",
			Response: doc[wire.WaitingList](), serve: h.runs.waiting},
		{Method: "GET", Pattern: "/api/v1/locks", Role: RoleRead, Where: OnLeader,
			Summary:  "the locks that are held or waited for",
			Response: doc[wire.LockList](), serve: h.runs.locks},
		{Method: "GET", Pattern: "/api/v1/raft", Role: RoleRead, Where: OnState,
			Summary:  "the consensus group",
			Response: doc[wire.RaftInfo](), serve: h.cluster.raft},
		{Method: "GET", Pattern: "/api/v1/snapshot", Role: RoleAdmin, Where: OnLeader,
			Summary:  "a snapshot file of the state, without the bytes that it names",
			Produces: mediaBytes, serve: h.snapshots.save},
		{Method: "POST", Pattern: "/api/v1/snapshot", Role: RoleAdmin, Where: OnLeader, Long: true,
			Summary: "restore a snapshot file, stored as a blob before, into an empty cluster",
			Body:    JSONBody, Request: doc[wire.SnapshotRestore](), Response: doc[wire.SnapshotRestored](),
			serve: h.snapshots.restore},
	}
}

func (h *handlers) accessRoutes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/api/v1/whoami", Role: RoleRead, Worker: true,
			Summary:  "who calls, and at which node",
			Response: doc[wire.WhoAmI](), serve: h.signIns.whoami},
		{Method: "POST", Pattern: "/api/v1/signin/codes", Role: RoleRead,
			Summary:  "create a code with which a browser signs in once",
			Response: doc[wire.SignInCode](), serve: h.signIns.code},
		{Method: "POST", Pattern: "/api/v1/signin",
			Summary: "exchange a code for a token",
			Body:    JSONBody, Request: doc[wire.SignInRequest](), Response: doc[wire.SignedIn](),
			serve: h.signIns.signIn},
		{Method: "DELETE", Pattern: "/api/v1/signin", Role: RoleRead,
			Summary:  "revoke the token of a sign-in, which makes the call",
			Response: doc[wire.Success](), serve: h.signIns.signOut},
		{Method: "POST", Pattern: "/api/v1/tokens", Role: RoleAdmin,
			Summary: "create a token; only this answer has its secret",
			Body:    JSONBody, Request: doc[wire.TokenRequest](), Response: doc[wire.TokenCreated](),
			serve: h.tokens.create},
		{Method: "GET", Pattern: "/api/v1/tokens", Role: RoleAdmin, Where: OnLeader,
			Summary:  "the tokens, without their secrets",
			Response: doc[wire.TokenList](), serve: h.tokens.list},
		{Method: "DELETE", Pattern: "/api/v1/tokens/{id}", Role: RoleAdmin,
			Summary: "revoke a token",
			serve:   h.tokens.delete},
		{Method: "PUT", Pattern: "/api/v1/secrets/{name}", Role: RoleAdmin,
			Summary: "set a secret, or replace it",
			Body:    JSONBody, Request: doc[wire.SecretRequest](), Response: doc[wire.SecretInfo](),
			serve: h.secrets.set},
		{Method: "GET", Pattern: "/api/v1/secrets", Role: RoleSubmit, Where: OnLeader,
			Summary:  "the names of the secrets, never their values",
			Response: doc[wire.SecretList](), serve: h.secrets.list},
		{Method: "DELETE", Pattern: "/api/v1/secrets/{name}", Role: RoleAdmin,
			Summary: "remove a secret",
			serve:   h.secrets.delete},
	}
}
