package external

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
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
	if err := checkRegistration(node, by.Loopback); err != nil {
		return wire.RegisterResponse{}, err
	}
	id := clusterID(node.ID)
	w.cfg.State.Fresh(ctx) // the worker may have registered with another node
	if err := w.mayReplace(by, id); err != nil {
		return wire.RegisterResponse{}, err
	}
	scope, err := w.scope(by)
	if err != nil {
		return wire.RegisterResponse{}, err
	}

	caps := node.Capabilities
	caps.ContainerEngine = "" // what it is sent names no image
	if caps.Tags == nil {
		caps.Tags = []string{}
	}
	if caps.InstalledTools == nil {
		caps.InstalledTools = []string{}
	}
	for _, tag := range caps.Tags {
		if len(scope.Tags) > 0 && !slices.ContainsFunc(scope.Tags, func(t string) bool { return strings.EqualFold(t, tag) }) {
			return wire.RegisterResponse{}, pipeline.Errorf(pipeline.Forbidden, "workerNode.capabilities.tags: this token admits no tag %.80q, only %s", tag, strings.Join(scope.Tags, ", "))
		}
	}
	name := node.Name
	if name == "" {
		name = node.ID
	}
	if err := w.nameFree(id, name); err != nil {
		return wire.RegisterResponse{}, err
	}
	rec := fsm.WorkerRecord{ID: id, Name: name, External: true, Endpoint: strings.TrimRight(node.Endpoint, "/"), Secret: service.RandomHex(24),
		Token: string(by.Worker), Capabilities: caps, Since: time.Now().UTC(), Incarnation: string(by.Worker) + "-" + service.RandomHex(8),
		NoSecrets: !scope.Secrets, Pipelines: scope.Pipelines, Loopback: by.Loopback}
	if _, err := w.cfg.State.Propose(ctx, &fsm.Command{At: rec.Since, By: by.Name, Use: by.Use, Worker: &fsm.Worker{Record: rec}}); err != nil {
		return wire.RegisterResponse{}, err
	}
	seconds := max(1, int(w.cfg.Heartbeat/time.Second))
	return wire.RegisterResponse{Success: true, WorkerID: node.ID, HeartbeatIntervalSeconds: seconds, Secret: rec.Secret}, nil
}

// tokenOf is the token with which a worker of an incarnation registered.
func tokenOf(incarnation string) string {
	token, _, _ := strings.Cut(incarnation, "-")
	return token
}

// mayReplace refuses a worker's token for the registration of another. A program may
// come back with a new token; the old one must be revoked first, or else each holder of
// a worker's token could take its modules.
func (w *Workers) mayReplace(by api.Subject, id pipeline.NodeID) error {
	old, ok := w.Lookup(id)
	switch {
	case !ok || by.Role != api.RoleWorker || old.Token == string(by.Worker):
		return nil
	case old.Token == "":
		return pipeline.Errorf(pipeline.Forbidden, "worker %s was registered by an administrator: choose another workerNode.id", old.Name)
	case w.valid(old.Token):
		return pipeline.Errorf(pipeline.Forbidden,
			"worker %s was registered with another token (%s): if it was replaced, revoke it with `pipelined token rm %s`; otherwise choose another workerNode.id", old.Name, old.Token, old.Token)
	}
	return nil
}

// scope is what the caller's token admits: everything if it is no worker's.
func (w *Workers) scope(by api.Subject) (fsm.TokenRecord, error) {
	if by.Role != api.RoleWorker {
		return fsm.TokenRecord{Secrets: true}, nil
	}
	var rec fsm.TokenRecord
	err := w.cfg.State.View(func(v *fsm.View) error {
		var ok bool
		if rec, ok = v.Token(string(by.Worker)); !ok {
			return pipeline.Errorf(pipeline.Forbidden, "the token of this worker was revoked")
		}
		return nil
	})
	return rec, err
}

// nameFree refuses the name of another worker or of a node: lists, reasons and
// histories show names only.
func (w *Workers) nameFree(id pipeline.NodeID, name string) error {
	taken := slices.ContainsFunc(w.cfg.Members(), func(m cluster.Member) bool { return m.Name == name || string(m.ID) == name })
	err := w.cfg.State.View(func(v *fsm.View) error {
		taken = taken || slices.ContainsFunc(v.Workers(), func(rec fsm.WorkerRecord) bool { return rec.ID != id && (rec.Name == name || string(rec.ID) == name) })
		return nil
	})
	if err == nil && taken {
		err = pipeline.Errorf(pipeline.Conflict, "the name %q is another worker's: choose another workerNode.name", name)
	}
	return err
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

func checkRegistration(w wire.WorkerNode, loopback bool) error {
	if !pipeline.ValidName(w.ID) {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.id %.80q: expected 1 to 63 letters, digits, _ or -", w.ID)
	}
	if err := checkEndpoint(w.Endpoint, loopback); err != nil {
		return pipeline.Errorf(pipeline.Invalid, "workerNode.endpoint %.200q: %w", w.Endpoint, err)
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
