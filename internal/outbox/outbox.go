package outbox

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/webhook"
)

// outbox is what waits for all webhooks. It implements
// webhook.Outbox.
type outbox struct{ w *Webhooks }

// Changed gives a channel that is closed when this node has applied more.
func (o outbox) Changed() <-chan struct{} { return o.w.cfg.State.Advanced() }

// Look lists what is due.
func (o outbox) Look(now time.Time, n int) ([]webhook.Queue, error) {
	var queues []webhook.Queue
	var hooks []fsm.HookRecord
	var due [][]fsm.OutboxEvent
	err := o.w.cfg.State.View(func(v *fsm.View) error {
		for _, rec := range v.Hooks() {
			if rec.Off != "" {
				continue
			}
			events, next := v.Outbox(rec.Name, now, n)
			queues = append(queues, webhook.Queue{Target: webhook.Target{Hook: rec.Name}, Dropped: rec.Dropped, Next: next})
			due = append(due, events)
			hooks = append(hooks, rec)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}

	for i := range queues {
		if len(due[i]) > 0 {
			queues[i].Target = o.w.target(hooks[i], now)
		}
		for j := range due[i] {
			q, err := o.w.queued(&hooks[i], &due[i][j])
			if err != nil {
				return nil, err
			}
			queues[i].Due = append(queues[i].Due, q)
		}
	}
	return queues, nil
}

// Commit records what came of deliveries.
func (o outbox) Commit(ctx context.Context, hook string, results []webhook.Result) error {
	list := make([]fsm.HookDelivery, len(results))
	for i := range results {
		r := &results[i]
		d := fsm.HookDelivery{At: r.Answer.At.UTC(), Took: r.Answer.Took, OK: r.Answer.OK(), Status: r.Answer.Status,
			Text: cmp.Or(r.Answer.Text, r.Answer.String()), Next: r.Next, GaveUp: r.GaveUp}
		if r.Answer.Gone() {
			d.Off = receiverGone
		}
		var err error
		if d.Index, d.N, err = parseEventID(r.ID); err != nil {
			return err
		}
		list[i] = d
	}
	_, err := o.w.cfg.State.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Deliver: &fsm.Deliver{Hook: hook, Results: list}})
	return err
}

// parseEventID reads the index and the number of an event from its id.
func parseEventID(id string) (index uint64, n int, err error) {
	parts := strings.Split(id, "-")
	if len(parts) >= 3 {
		index, err = strconv.ParseUint(parts[len(parts)-2], 10, 64)
		if err == nil {
			n, err = strconv.Atoi(parts[len(parts)-1])
		}
	}
	if len(parts) < 3 || err != nil {
		return 0, 0, fmt.Errorf("%q is no id of an event", id)
	}
	return index, n, nil
}

// target is where a webhook sends. Without keys, its secret does not open.
func (w *Webhooks) target(rec fsm.HookRecord, now time.Time) webhook.Target {
	t := webhook.Target{Hook: rec.Name, URL: rec.URL, Plain: rec.Format == fsm.HookSlack}
	if t.Plain {
		return t
	}
	sealed := [][]byte{rec.Sealed}
	if len(rec.SealedOld) > 0 && now.Before(rec.OldUntil) {
		sealed = append(sealed, rec.SealedOld)
	}
	for _, s := range sealed {
		secret, err := w.cfg.Keys.Open(sealWebhook+rec.Name, s)
		if err != nil {
			continue
		}
		if key, err := webhook.ParseSecret(string(secret)); err == nil {
			t.Keys = append(t.Keys, key)
		}
	}
	return t
}

// message is an event as it is sent to a webhook of a format.
func (w *Webhooks) message(format string, e wire.Event) (m webhook.Message, err error) {
	m.ID = e.ID
	if format == fsm.HookSlack {
		m.Body, err = slackBody(escapeSlack(e.Text))
	} else {
		m.Body, err = w.cloudEvent(e)
	}
	return m, err
}

func (w *Webhooks) cloudEvent(e wire.Event) ([]byte, error) {
	body, err := json.Marshal(wire.CloudEventOf(e, w.base()))
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	return body, nil
}

// base is where the dashboard is; "" if that is not known.
func (w *Webhooks) base() string {
	if list := w.cfg.Addresses(); len(list) > 0 {
		return list[0]
	}
	return ""
}

// send sends a message, signed. What cannot be signed is not sent.
func (w *Webhooks) send(ctx context.Context, to *webhook.Target, m *webhook.Message) webhook.Answer {
	if m.Build != nil {
		body, err := m.Build(ctx)
		if err != nil {
			return webhook.Answer{At: time.Now(), Text: "not sent: " + err.Error()}
		}
		m = &webhook.Message{ID: m.ID, Body: body}
	}
	if len(to.Keys) == 0 && !to.Plain {
		return webhook.Answer{At: time.Now(), Text: "not sent: its secret does not open with this cluster key; replace it with pipelined webhooks rotate " + to.Hook}
	}
	return w.cfg.Send(ctx, to, m)
}
