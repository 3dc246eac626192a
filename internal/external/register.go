package external

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
)

// Bounds of a registration.
const (
	maxParallel = 10_000
	maxTags     = 100
	maxTools    = 8192
	maxName     = 63
	// maxCPU is the most processors that a worker may claim.
	maxCPU = 100_000
)

// Register adds an external worker. Registering again under the same id replaces
// the registration: the worker gets a new incarnation, and what it ran is lost.
func (w *Workers) Register(ctx context.Context, by api.Subject, in wire.RegisterRequest) (wire.RegisterResponse, error) {
	node := in.WorkerNode
	if err := checkRegistration(node); err != nil {
		return wire.RegisterResponse{}, err
	}
	id := pipeline.NodeID(pipeline.ExternalPrefix + node.ID)
	w.cfg.State.Fresh(ctx) // the worker may have registered with another node
	// The program may come back with a new token; the old one must be revoked first, or
	// else whoever has any worker's token could take its modules.
	if old, ok := w.Find(string(id)); ok && old.Token != "" && by.Role == api.RoleWorker && old.Token != string(by.Worker) && w.valid(old.Token) {
		return wire.RegisterResponse{}, pipeline.Errorf(pipeline.Forbidden,
			"worker %s was registered with another token (%s): if it was replaced, revoke it with `pipelined token rm %s`; otherwise choose another workerNode.id", node.ID, old.Token, old.Token)
	}

	caps := node.Capabilities
	if caps.Tags == nil {
		caps.Tags = []string{}
	}
	if caps.InstalledTools == nil {
		caps.InstalledTools = []string{}
	}
	name := node.Name
	if name == "" {
		name = node.ID
	}
	rec := fsm.WorkerRecord{ID: id, Name: name, External: true, Endpoint: strings.TrimRight(node.Endpoint, "/"), Secret: service.RandomHex(24),
		Token: string(by.Worker), Capabilities: caps, Since: time.Now().UTC(), Incarnation: service.RandomHex(8)}
	if _, err := w.cfg.State.Propose(ctx, &fsm.Command{At: rec.Since, Worker: &fsm.Worker{Record: rec}}); err != nil {
		return wire.RegisterResponse{}, err
	}
	seconds := max(1, int(w.cfg.Heartbeat/time.Second))
	return wire.RegisterResponse{Success: true, WorkerID: node.ID, HeartbeatIntervalSeconds: seconds, Secret: rec.Secret}, nil
}

// valid reports whether a token still exists.
func (w *Workers) valid(token string) bool {
	exists := true
	_ = w.cfg.State.View(func(v *fsm.View) error { // if it is closed, nothing can be registered
		rec, ok := v.Token(token)
		exists = ok && (rec.ExpiresAt.IsZero() || rec.ExpiresAt.After(time.Now()))
		return nil
	})
	return exists
}

func checkRegistration(w wire.WorkerNode) error {
	if !pipeline.ValidName(w.ID) {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.id %.80q: expected 1 to 63 letters, digits, _ or -", w.ID)
	}
	u, err := url.Parse(w.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.endpoint %.200q: expected http://HOST:PORT or https://HOST:PORT", w.Endpoint)
	}

	c := w.Capabilities
	if c.MaxParallelModules < 1 || c.MaxParallelModules > maxParallel {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.capabilities.maxParallelModules %d: expected 1 to %d", c.MaxParallelModules, maxParallel)
	}
	if !(c.CPU >= 0 && c.CPU <= maxCPU) || c.Memory < 0 { // this way round NaN is refused too
		return pipeline.Errorf(pipeline.Invalid, "workerNode.capabilities: cpu %v and memory %d: expected a number of processors up to %d and a number of bytes", c.CPU, c.Memory, maxCPU)
	}
	if len(c.Tags) == 0 {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.capabilities.tags is empty: an external worker gets only modules that require one of its tags")
	}
	if len(c.Tags) > maxTags || len(c.InstalledTools) > maxTools || len(w.Name) > maxName {
		return pipeline.Errorf(pipeline.Invalid, "workerNode: at most %d tags, %d tools and %d bytes of name", maxTags, maxTools, maxName)
	}
	return nil
}
