package node

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"sort"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// tokenPrefix begins every token of the cluster: pd_<id>_<secret>.
const tokenPrefix = "pd_"

var errToken = pipeline.Errorf(pipeline.Unauthenticated, "the token is not known here, or its time is over")

// Authenticate finds who a bearer token belongs to: one that the command line
// made from the cluster key, or one of the cluster's.
func (b *backend) Authenticate(ctx context.Context, token, remote string) (api.Subject, error) {
	n := b.node()
	if !strings.HasPrefix(token, tokenPrefix) {
		now := time.Now()
		c, err := n.keys.VerifyToken(token, n.id, now)
		if err != nil || !n.keys.CheckNonce(c.Nonce, n.id, now) {
			return api.Subject{}, errToken
		}
		return api.Subject{Name: c.Subject, Role: api.Role(c.Role)}, nil
	}
	id, _, ok := strings.Cut(strings.TrimPrefix(token, tokenPrefix), "_")
	if !ok || len(id) > 64 {
		return api.Subject{}, errToken
	}
	rec, err := n.findToken(ctx, id)
	if err != nil {
		if pipeline.KindOf(err) == pipeline.NotFound {
			return api.Subject{}, errToken
		}
		return api.Subject{}, err
	}
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], rec.Hash) != 1 || !rec.ExpiresAt.IsZero() && time.Now().After(rec.ExpiresAt) {
		return api.Subject{}, errToken
	}
	name := rec.Name
	if name == "" {
		name = "token " + rec.ID
	}
	s := api.Subject{Name: name, Role: api.Role(rec.Role)}
	if s.Role == api.RoleWorker {
		s.Worker = pipeline.NodeID(rec.ID)
	}
	return s, nil
}

// findToken reads a token from the state, here or on a node that has it. One
// that this node does not know may have been made a moment ago, or its state may
// not have caught up since its start: then the leader says. While there is none,
// any node that has the token will do, and one that nobody has is looked for
// again for a while.
func (n *Node) findToken(ctx context.Context, id string) (fsm.TokenRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	for {
		if n.state.HasState() {
			if rec, err := n.tokenHere(id); err == nil || n.orch.Leading() {
				return rec, err
			}
		}
		var rec fsm.TokenRecord
		leader, err := n.state.LeaderID()
		if err == nil && leader == n.id {
			err = pipeline.ErrNoLeader // elected, not ready yet
		}
		if err == nil {
			call, cancel := context.WithTimeout(ctx, leaderWait/4) // one that stands still is not waited for
			err = n.peers.Call(call, leader, "/peer/token", id, &rec)
			cancel()
			if err == nil || pipeline.KindOf(err) == pipeline.NotFound {
				return rec, err
			}
		}
		for _, other := range n.state.Replicas() {
			if other != leader && n.peers.Call(ctx, other, "/peer/token", id, &rec) == nil {
				return rec, nil
			}
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return rec, err
		}
	}
}

func (n *Node) tokenHere(id string) (rec fsm.TokenRecord, err error) {
	err = n.store.View(func(v *fsm.View) error {
		var ok bool
		if rec, ok = v.Token(id); !ok {
			return pipeline.Errorf(pipeline.NotFound, "no token %s", id)
		}
		return nil
	})
	return rec, err
}

// CreateToken makes a token; only its hash is kept.
func (b *backend) CreateToken(ctx context.Context, by api.Subject, in wire.TokenRequest) (wire.TokenCreated, error) {
	switch api.Role(in.Role) {
	case api.RoleRead, api.RoleSubmit, api.RoleWorker, api.RoleAdmin:
	default:
		return wire.TokenCreated{}, pipeline.Errorf(pipeline.Invalid, "role %q: want read, submit, worker or admin", in.Role)
	}
	if in.TTLSeconds < 0 || in.TTLSeconds > 10*365*24*3600 {
		return wire.TokenCreated{}, pipeline.Errorf(pipeline.Invalid, "ttlSeconds %g: want 0, which is for ever, to ten years", in.TTLSeconds)
	}
	if len(in.Name) > 128 {
		return wire.TokenCreated{}, pipeline.Errorf(pipeline.Invalid, "name: at most 128 bytes")
	}
	id := randomHex(6)
	token := tokenPrefix + id + "_" + randomHex(24)
	sum := sha256.Sum256([]byte(token))
	rec := fsm.TokenRecord{ID: id, Name: in.Name, Role: in.Role, Hash: sum[:], CreatedAt: time.Now().UTC(), CreatedBy: by.Name}
	if in.TTLSeconds > 0 {
		rec.ExpiresAt = rec.CreatedAt.Add(time.Duration(in.TTLSeconds * float64(time.Second)))
	}
	_, err := b.node().state.Propose(ctx, &fsm.Command{At: rec.CreatedAt, Token: &fsm.Token{Record: rec}})
	return wire.TokenCreated{TokenInfo: tokenInfo(rec), Token: token}, err
}

func tokenInfo(t fsm.TokenRecord) wire.TokenInfo {
	return wire.TokenInfo{ID: t.ID, Name: t.Name, Role: t.Role, CreatedAt: t.CreatedAt.UTC(), ExpiresAt: timeOf(t.ExpiresAt)}
}

// Tokens lists the tokens, newest first.
func (b *backend) Tokens(context.Context) (wire.TokenList, error) {
	out := wire.TokenList{Tokens: []wire.TokenInfo{}}
	err := b.store.View(func(v *fsm.View) error {
		for _, t := range v.Tokens() {
			out.Tokens = append(out.Tokens, tokenInfo(t))
		}
		return nil
	})
	sort.Slice(out.Tokens, func(i, j int) bool { return out.Tokens[i].CreatedAt.After(out.Tokens[j].CreatedAt) })
	return out, err
}

// DeleteToken makes a token worthless.
func (b *backend) DeleteToken(ctx context.Context, _ api.Subject, id string) error {
	_, err := b.node().state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Token: &fsm.Token{Record: fsm.TokenRecord{ID: id}, Delete: true}})
	return err
}

// Drain empties a node, or lets it work again.
func (b *backend) Drain(ctx context.Context, _ api.Subject, node string, in wire.DrainRequest) error {
	n := b.node()
	rec := fsm.WorkerRecord{Draining: !in.Off}
	if in.DeadlineSeconds < 0 || in.DeadlineSeconds > 30*24*3600 {
		return pipeline.Errorf(pipeline.Invalid, "deadlineSeconds %g: want 0, which waits for ever, to 30 days", in.DeadlineSeconds)
	}
	if in.DeadlineSeconds > 0 && !in.Off {
		rec.DrainDeadline = time.Now().Add(time.Duration(in.DeadlineSeconds * float64(time.Second))).UTC()
	}
	if m, err := n.findMember(node); err == nil {
		rec.ID, rec.Name = m.ID, m.Name
	} else if w, ok := n.findOutside(node); ok {
		rec.ID, rec.Name = w.ID, w.Name
	} else {
		return err
	}
	return n.setWorker(ctx, "drain", rec)
}

// Leave makes this node leave its cluster, soon after the call.
func (b *backend) Leave(context.Context, api.Subject) error {
	n := b.node()
	if len(n.state.Others()) == 0 {
		return pipeline.Errorf(pipeline.Conflict, "%s is the only node of its cluster that answers: nobody could go on; stop it instead, or remove its data directory to start anew", n.cfg.Name)
	}
	select {
	case n.leaving <- struct{}{}:
	default: // asked for already
	}
	return nil
}
