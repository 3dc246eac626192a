// Package outbox has the webhooks that the replicated state keeps, and the events that
// wait for each: it adds, lists and changes them for the API, and on the leader gives
// what is due to the sender of internal/webhook and records what came of it.
package outbox

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/internal/webhook"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// sealWebhook is the purpose under which secrets of webhooks are sealed.
	sealWebhook = "webhook " // and its name
	// keepSecret is how long the secret before signs as well if the configuration has
	// another; maxKeepSecret bounds what a caller may ask for.
	keepSecret, maxKeepSecret = 24 * time.Hour, 30 * 24 * time.Hour
	// testType is the type of what TestWebhook sends. Such an event is not kept.
	testType = "dev.cdeventsx.pipelined-webhook.tested.0.1.0"
	// barrierAgain is the pause after a Barrier that failed.
	barrierAgain = 100 * time.Millisecond
	// receiverGone is why a hook is switched off.
	receiverGone = "its receiver answered 410 Gone"
)

// Definition is a webhook that the configuration of an agent defines.
type Definition struct {
	Name, URL string
	Types     []string
	Pipelines []string
	Secret    string
	// Format is "" or fsm.HookSlack, which has no secret.
	Format string
}

// Config says what Webhooks is made of. All fields are needed, but for Defined.
type Config struct {
	State *state.State
	Keys  *keys.Keys
	Rules webhook.Rules
	// Send sends a message once.
	Send func(ctx context.Context, to *webhook.Target, m *webhook.Message) webhook.Answer
	// Count counts deliveries by outcome.
	Count func(outcome string, n int)
	// Barrier waits until the state of a new leader has what the terms before it have
	// committed.
	Barrier func(ctx context.Context) error
	// ClusterID is part of the ids of events. Addresses are those of the members'
	// dashboards, this node's first: events link to it.
	ClusterID func() string
	Addresses func() []string
	// OpenLog opens the output of a finished attempt, on whichever node it is. Evaluate
	// computes the message of a notification.
	OpenLog  func(ctx context.Context, a *pipeline.Attempt) (LogText, error)
	Evaluate func(ctx context.Context, def *pipeline.Pipeline, m *pipeline.Module, deps map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, error)
	// Defined are the webhooks of this agent's configuration.
	Defined []Definition
	Logger  hclog.Logger
}

// Webhooks adds, lists, changes and tests webhooks, and on the leader sends events to
// them. It implements api.Webhooks.
type Webhooks struct{ cfg Config }

// New makes a Webhooks.
func New(cfg Config) *Webhooks { return &Webhooks{cfg: cfg} }

// Lead sends events until ctx ends, for one term.
func (w *Webhooks) Lead(ctx context.Context) {
	// What the leader before has recorded must not be sent again.
	for {
		err := w.cfg.Barrier(ctx)
		if err == nil {
			break
		}
		w.cfg.Logger.Debug("webhooks: what was committed before this term is not applied yet", "error", err)
		select {
		case <-time.After(barrierAgain):
		case <-ctx.Done():
			return
		}
	}
	w.define(ctx)
	webhook.NewSender(webhook.Config{Outbox: outbox{w}, Send: w.send, Count: w.cfg.Count, Logger: w.cfg.Logger}).Lead(ctx)
}

// define adds the webhooks of the configuration of this node, which leads, or changes
// them. Others stay as they are.
func (w *Webhooks) define(ctx context.Context) {
	for _, d := range w.cfg.Defined {
		var rec fsm.HookRecord
		err := w.cfg.State.View(func(v *fsm.View) error { rec, _ = v.Hook(d.Name); return nil })
		if err == nil && w.same(rec, d) {
			continue
		}
		if err == nil {
			now := time.Now().UTC()
			err = w.propose(ctx, fsm.HookSet, now, "", fsm.HookRecord{Name: d.Name, URL: d.URL, Types: d.Types, Pipelines: d.Pipelines, Format: d.Format, Sealed: w.seal(d.Name, d.Secret),
				CreatedAt: now, OldUntil: now.Add(keepSecret)})
		}
		if err != nil && ctx.Err() == nil {
			w.cfg.Logger.Error("the webhook of the configuration was not added", "webhook", d.Name, "error", err)
		}
	}
}

// same reports whether a webhook is as the configuration has it.
func (w *Webhooks) same(rec fsm.HookRecord, d Definition) bool {
	if !rec.Config || rec.Format != d.Format || rec.URL != d.URL || !slices.Equal(rec.Types, d.Types) || !slices.Equal(rec.Pipelines, d.Pipelines) {
		return false
	}
	if d.Format == fsm.HookSlack {
		return true
	}
	secret, err := w.cfg.Keys.Open(sealWebhook+rec.Name, rec.Sealed)
	return err == nil && string(secret) == d.Secret
}

// seal seals the secret of a webhook; nil if it has none.
func (w *Webhooks) seal(name, secret string) []byte {
	if secret == "" {
		return nil
	}
	return w.cfg.Keys.Seal(sealWebhook+name, []byte(secret))
}

func (w *Webhooks) propose(ctx context.Context, do fsm.HookDo, now time.Time, by string, rec fsm.HookRecord) error {
	_, err := w.cfg.State.Propose(ctx, &fsm.Command{At: now, By: by, Hook: &fsm.Hook{Do: do, Record: rec}})
	return err
}

// AddWebhook adds a webhook.
func (w *Webhooks) AddWebhook(ctx context.Context, by api.Subject, in wire.WebhookRequest) (wire.WebhookCreated, error) {
	d := Definition{Name: in.Name, URL: in.URL, Types: in.Types, Pipelines: in.Pipelines, Secret: in.Secret, Format: in.Format}
	if d.Secret == "" && d.Format == "" {
		d.Secret = webhook.NewSecret()
	}
	if err := Check(d, w.cfg.Rules); err != nil {
		return wire.WebhookCreated{}, err
	}

	rec := fsm.HookRecord{Name: d.Name, URL: d.URL, Types: d.Types, Pipelines: d.Pipelines, Format: d.Format, Sealed: w.seal(d.Name, d.Secret), CreatedAt: time.Now().UTC(), CreatedBy: by.Name}
	err := w.propose(ctx, fsm.HookAdd, rec.CreatedAt, by.Name, rec)
	return wire.WebhookCreated{WebhookInfo: w.info(rec), Secret: d.Secret}, err
}

// webhookName is what a webhook may be called.
var webhookName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Check refuses a webhook that cannot be added.
func Check(d Definition, rules webhook.Rules) error {
	if !webhookName.MatchString(d.Name) {
		return pipeline.Errorf(pipeline.Invalid, "name %.80q: expected letters, digits, and . _ - after the first, at most 63", d.Name)
	}
	if err := rules.CheckURL(d.URL); err != nil {
		return err
	}
	for _, name := range d.Types {
		if !slices.ContainsFunc(pipeline.EventKinds, func(k pipeline.EventKind) bool { return k.Matches(name) }) {
			return pipeline.Errorf(pipeline.Invalid, "type %.80q: no type of events; expected one such as run.finished, or its first part", name)
		}
	}
	if slices.Contains(d.Pipelines, "") {
		return pipeline.Errorf(pipeline.Invalid, "pipelines: an empty name: expected names of pipelines")
	}
	switch d.Format {
	case "":
	case fsm.HookSlack:
		if d.Secret != "" {
			return pipeline.Errorf(pipeline.Invalid, "a webhook of the format slack has no secret: its address is one")
		}
		return nil
	default:
		return pipeline.Errorf(pipeline.Invalid, "format %.40q: expected slack, or none for signed CloudEvents", d.Format)
	}
	_, err := webhook.ParseSecret(d.Secret)
	return err
}

// Webhooks lists the webhooks by name.
func (w *Webhooks) Webhooks(context.Context) (wire.WebhookList, error) {
	out := wire.WebhookList{Webhooks: []wire.WebhookInfo{}}
	err := w.cfg.State.View(func(v *fsm.View) error {
		for _, rec := range v.Hooks() {
			out.Webhooks = append(out.Webhooks, w.info(rec))
		}
		return nil
	})
	return out, err
}

func (w *Webhooks) info(rec fsm.HookRecord) wire.WebhookInfo {
	out := wire.WebhookInfo{Name: rec.Name, URL: rec.URL, Types: rec.Types, Pipelines: rec.Pipelines, Format: rec.Format, CreatedAt: rec.CreatedAt.UTC(), CreatedBy: rec.CreatedBy, Config: rec.Config,
		Off: rec.Off, OffAt: wire.TimeOf(rec.OffAt), Waiting: rec.Waiting, GivenUp: rec.GaveUp, Delivered: rec.Delivered, Dropped: rec.Dropped,
		Failures: rec.Failures, DeliveredAt: wire.TimeOf(rec.OKAt)}
	if len(rec.SealedOld) > 0 && time.Now().Before(rec.OldUntil) {
		out.OldSecretUntil = wire.TimeOf(rec.OldUntil)
	}
	if last := rec.Last; last != nil {
		out.Last = &wire.WebhookDelivery{Event: w.eventID(last.Index, last.N), At: last.At.UTC(), TookMS: millis(last.Took), Accepted: last.OK,
			Status: last.Status, Text: last.Text, NextAt: wire.TimeOf(last.Next)}
	}
	return out
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (w *Webhooks) eventID(index uint64, n int) string {
	return fmt.Sprintf("%s-%d-%d", w.cfg.ClusterID(), index, n)
}

// find is a webhook, as this node knows it.
func (w *Webhooks) find(name string) (rec fsm.HookRecord, err error) {
	err = w.cfg.State.View(func(v *fsm.View) error {
		var ok bool
		if rec, ok = v.Hook(name); ok {
			return nil
		}
		var names []string
		for _, h := range v.Hooks() {
			names = append(names, h.Name)
		}
		return pipeline.NoWebhook(name, names)
	})
	return rec, err
}

// RemoveWebhook removes a webhook.
func (w *Webhooks) RemoveWebhook(ctx context.Context, by api.Subject, name string) error {
	return w.propose(ctx, fsm.HookRemove, time.Now().UTC(), by.Name, fsm.HookRecord{Name: name})
}

// RotateWebhook replaces the secret of a webhook.
func (w *Webhooks) RotateWebhook(ctx context.Context, by api.Subject, name string, in wire.WebhookRotate) (wire.WebhookCreated, error) {
	if !(in.KeepSeconds >= 0 && in.KeepSeconds <= maxKeepSecret.Seconds()) {
		return wire.WebhookCreated{}, pipeline.Errorf(pipeline.Invalid, "keepSeconds %g: expected 0 to thirty days", in.KeepSeconds)
	}
	secret := in.Secret
	if secret == "" {
		secret = webhook.NewSecret()
	}
	if _, err := webhook.ParseSecret(secret); err != nil {
		return wire.WebhookCreated{}, err
	}

	now := time.Now().UTC()
	rec := fsm.HookRecord{Name: name, Sealed: w.seal(name, secret), OldUntil: now.Add(time.Duration(in.KeepSeconds * float64(time.Second)))}
	if err := w.propose(ctx, fsm.HookRotate, now, by.Name, rec); err != nil {
		return wire.WebhookCreated{}, err
	}
	// What follows only informs: if it fails, the secret must not be lost.
	w.cfg.State.Fresh(ctx)
	if known, err := w.find(name); err == nil {
		rec = known
	}
	return wire.WebhookCreated{WebhookInfo: w.info(rec), Secret: secret}, nil
}

// RetryWebhook makes what waits for a webhook due.
func (w *Webhooks) RetryWebhook(ctx context.Context, by api.Subject, name string) (wire.WebhookInfo, error) {
	if err := w.propose(ctx, fsm.HookResend, time.Now().UTC(), by.Name, fsm.HookRecord{Name: name}); err != nil {
		return wire.WebhookInfo{}, err
	}
	rec, err := w.find(name)
	return w.info(rec), err
}

// TestWebhook sends an event that says only that it is a test.
func (w *Webhooks) TestWebhook(ctx context.Context, by api.Subject, name string) (wire.WebhookDelivery, error) {
	rec, err := w.find(name)
	if err != nil {
		return wire.WebhookDelivery{}, err
	}

	now := time.Now().UTC()
	id := w.cfg.ClusterID() + "-test-" + strings.ReplaceAll(uuid.NewString(), "-", "")
	m, err := w.message(rec.Format, wire.Event{ID: id, Type: testType, Name: "webhook.tested", Time: now, Text: "test of the webhook " + name, Actor: by.Name,
		Data: wire.EventData{Subject: name}})
	if err != nil {
		return wire.WebhookDelivery{}, err
	}
	to := w.target(rec, now)
	a := w.send(ctx, &to, &m)
	if ctx.Err() != nil {
		return wire.WebhookDelivery{}, ctx.Err()
	}
	return wire.WebhookDelivery{Event: id, At: a.At.UTC(), TookMS: millis(a.Took), Accepted: a.OK(), Status: a.Status, Text: a.Text}, nil
}
