package fsm

import (
	"bytes"
	"cmp"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// registry holds what is registered by name: workers, tokens and secrets.
type registry struct{ *writer }

func (g *registry) applyWorker(c *Command, ch *change) Result {
	w := c.Worker
	if why := badName("the worker's id", string(w.Record.ID)); why != "" {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
	}

	key := []byte(w.Record.ID)
	var old WorkerRecord
	known := g.get(bWorkers, key, &old)
	if w.Delete {
		if !known {
			return Result{Err: pipeline.Errorf(pipeline.NotFound, "no worker %s", w.Record.ID)}
		}
		g.dropWorker(old, c.By, "")
		ch.Workers = true
		return Result{}
	}

	rec := w.Record
	if w.Only != "" {
		rec = WorkerRecord{ID: w.Record.ID, Name: w.Record.Name}
		if known {
			rec = old
		}
		switch w.Only {
		case "drain":
			rec.Draining, rec.DrainDeadline, rec.UntilBack = w.Record.Draining, w.Record.DrainDeadline, false
		case "away":
			rec.AwayUntil = w.Record.AwayUntil
		case "stop":
			rec.UntilBack = rec.UntilBack || !rec.Draining
			rec.Draining = true
			if !w.Record.DrainDeadline.IsZero() {
				rec.DrainDeadline = w.Record.DrainDeadline
			}
		case "evacuated":
			if !rec.Draining { // it stays, and the note comes late
				return Result{Err: pipeline.Errorf(pipeline.Conflict, "worker %s does not drain: it cannot leave", w.Record.ID)}
			}
			rec.Evacuated = true
		case "back":
			if rec.UntilBack {
				rec.Draining, rec.DrainDeadline = false, time.Time{}
			}
			rec.AwayUntil, rec.UntilBack, rec.Evacuated = time.Time{}, false, false
		default:
			return Result{Err: pipeline.Errorf(pipeline.Invalid, "only %.80q: expected drain, away, stop, evacuated, back or nothing", w.Only)}
		}
	} else if rec.Incarnation == "" || rec.Incarnation != old.Incarnation { // else it repeats what registered it
		if err := g.use(c.Use); err != nil {
			return Result{Err: err}
		}
	}

	g.put(bWorkers, key, rec)
	ch.Workers = true
	if rec.External && !known {
		g.happened(pipeline.Event{Type: pipeline.EventWorkerRegistered, Node: rec.Name, Actor: c.By})
	}
	switch {
	case rec.Draining && !old.Draining:
		g.happened(pipeline.Event{Type: pipeline.EventNodeDraining, Node: nodeName(w.Record, rec), Actor: c.By})
	case old.Draining && !rec.Draining:
		g.happened(pipeline.Event{Type: pipeline.EventNodeUndrained, Node: nodeName(w.Record, rec), Actor: c.By})
	}

	return Result{}
}

// use takes one use of a token with a number of them; id is "" for all others. It
// comes behind everything else that may refuse a command, so that none is lost.
func (g *registry) use(id string) error {
	if id == "" {
		return nil
	}
	var rec TokenRecord
	if !g.get(bTokens, []byte(id), &rec) {
		return pipeline.Errorf(pipeline.Unauthenticated, "token %s was revoked", id)
	}
	if rec.Used >= rec.Uses {
		return pipeline.Errorf(pipeline.Forbidden, "token %s has been used as often as it may be: %d of %d", id, rec.Used, rec.Uses)
	}
	rec.Used++
	g.put(bTokens, []byte(id), rec)
	return nil
}

// nodeName is the name in the first record that has one.
func nodeName(a, b WorkerRecord) string { return cmp.Or(a.Name, b.Name, string(a.ID)) }

// dropWorker removes the record of a worker.
func (g *registry) dropWorker(rec WorkerRecord, by, reason string) {
	g.del(bWorkers, []byte(rec.ID))
	if rec.External {
		g.happened(pipeline.Event{Type: pipeline.EventWorkerRemoved, Node: rec.Name, Actor: by, Reason: reason})
	}
}

func (g *registry) applyToken(c *Command, ch *change) Result {
	t := c.Token
	if why := badName("the token's id", t.Record.ID); why != "" {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
	}

	key := []byte(t.Record.ID)
	if t.Delete {
		var old TokenRecord
		if !g.get(bTokens, key, &old) {
			return Result{Err: pipeline.Errorf(pipeline.NotFound, "no token %s", t.Record.ID)}
		}
		g.tokenHappened(pipeline.EventTokenRevoked, old, c.By)
		g.dropWorkersOf(old.ID, ch)
		g.dropTokens(g.signIns(), t.Record.ID)
		return Result{}
	}

	if b := g.tx.Bucket(bTokens).Get(key); b != nil {
		var old TokenRecord
		mustUnmarshal(b, &old)
		if len(old.Hash) > 0 && bytes.Equal(old.Hash, t.Record.Hash) {
			return Result{} // a repeat of the proposal that made it
		}
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "token %s exists", t.Record.ID)}
	}

	if err := g.prepareSignIn(t, c.At); err != nil {
		return Result{Err: err}
	}
	g.put(bTokens, key, t.Record)
	g.tokenHappened(pipeline.EventTokenCreated, t.Record, cmp.Or(c.By, t.Record.CreatedBy))

	return Result{}
}

// tokenHappened notes an event of a token. Sign-ins of browsers are not events.
func (g *registry) tokenHappened(t pipeline.EventType, rec TokenRecord, by string) {
	if !rec.SignIn {
		g.happened(pipeline.Event{Type: t, Subject: cmp.Or(rec.Name, rec.ID), State: rec.Role, Actor: by})
	}
}

// dropWorkersOf removes the external workers that registered with a token. What
// registers under one of their ids later is another worker.
func (g *registry) dropWorkersOf(token string, ch *change) {
	var gone []WorkerRecord
	_ = eachRecord(g.tx.Bucket(bWorkers), func(rec WorkerRecord) { // the callback never fails
		if rec.External && rec.Token == token {
			gone = append(gone, rec)
		}
	})

	for _, rec := range gone {
		g.dropWorker(rec, "", "its token was revoked")
		ch.Workers = true
	}
}

// applySecret sets or removes a secret. The sealed value is not checked: the
// state machine has no key.
func (g *registry) applySecret(c *Command) Result {
	s, rec := c.Secret, c.Secret.Record
	if why := badName("the secret's name", rec.Name); why != "" {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
	}

	b, key := g.tx.Bucket(bSecrets), []byte(rec.Name)
	there := b.Get(key) != nil
	switch {
	case s.Delete && !there:
		return Result{Err: pipeline.Errorf(pipeline.NotFound, "no secret %s", rec.Name)}
	case s.Delete:
		g.del(bSecrets, key)
		g.happened(pipeline.Event{Type: pipeline.EventSecretRemoved, Subject: rec.Name, Actor: c.By})
		return Result{}
	case len(rec.Sealed) == 0:
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "secret %s comes without a value", rec.Name)}
	case len(rec.Sealed) > MaxSecretBytes+sealedOver:
		return Result{Err: pipeline.Errorf(pipeline.TooLarge, "secret %s has %d bytes sealed: its value may have %d", rec.Name, len(rec.Sealed), MaxSecretBytes)}
	}

	if !there && count(b, MaxSecrets) >= MaxSecrets {
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "there are %d secrets, and no more are kept", MaxSecrets)}
	}

	g.put(bSecrets, key, rec)
	g.happened(pipeline.Event{Type: pipeline.EventSecretSet, Subject: rec.Name, Actor: cmp.Or(c.By, rec.SetBy)})

	return Result{}
}
