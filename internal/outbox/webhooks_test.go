package outbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/outbox"
	"github.com/pipelined/pipelined/internal/state/statetest"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/internal/webhook"
	"github.com/pipelined/pipelined/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// at is when secrets were set.
var at = time.Unix(1_800_000_000, 0).UTC()

var sam = api.Subject{Name: "sam", Role: api.RoleAdmin}

// hooksRig are webhooks whose messages go nowhere.
type hooksRig struct {
	*outbox.Webhooks
	state *statetest.State
	cfg   outbox.Config

	mu sync.Mutex
	// guards following
	sent   []webhook.Message
	keys   [][]byte
	status int
	counts map[string]int
}

func newHooksRig(t *testing.T) *hooksRig {
	t.Helper()
	k, err := keys.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	r := &hooksRig{state: statetest.New(t), status: http.StatusOK, counts: map[string]int{}}
	r.cfg = outbox.Config{State: r.state.State, Keys: k, Logger: hclog.NewNullLogger(),
		Send: func(_ context.Context, to *webhook.Target, m *webhook.Message) webhook.Answer {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.sent, r.keys = append(r.sent, *m), to.Keys
			return webhook.Answer{At: time.Now(), Took: time.Millisecond, Status: r.status, Text: "noted"}
		},
		Count: func(outcome string, n int) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.counts[outcome] += n
		},
		Barrier: func(context.Context) error { return nil }, ClusterID: func() string { return "c1" },
		Addresses: func() []string { return []string{"http://127.0.0.1:8080"} }}
	r.Webhooks = outbox.New(r.cfg)
	return r
}

// lead sends until the test ends.
func (r *hooksRig) lead(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		r.Lead(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func (r *hooksRig) one(t *testing.T) wire.WebhookInfo {
	t.Helper()
	list, err := r.Webhooks.Webhooks(t.Context())
	if err != nil || len(list.Webhooks) != 1 {
		t.Fatalf("%v, %+v", err, list)
	}
	return list.Webhooks[0]
}

func TestWebhooks_AddWebhook(t *testing.T) {
	r := newHooksRig(t)
	out, err := r.AddWebhook(t.Context(), sam, wire.WebhookRequest{Name: "ci", URL: "https://example.com/x", Types: []string{"run"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := webhook.ParseSecret(out.Secret); err != nil || out.Name != "ci" || out.CreatedBy != "sam" {
		t.Errorf("%v, %+v", err, out)
	}

	// The secret is in no answer after that, and in no record.
	shown, err := json.Marshal(r.one(t))
	if err != nil || strings.Contains(string(shown), out.Secret) || strings.Contains(string(shown), "ealed") {
		t.Errorf("%v, %s", err, shown)
	}
	err = r.state.View(func(v *fsm.View) error {
		rec, ok := v.Hook("ci")
		if !ok || bytes.Contains(rec.Sealed, []byte(out.Secret)) {
			t.Errorf("record %+v", rec)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	for _, bad := range []wire.WebhookRequest{
		{Name: "", URL: "https://example.com"}, {Name: "a b", URL: "https://example.com"}, {Name: "-a", URL: "https://example.com"},
		{Name: strings.Repeat("x", 64), URL: "https://example.com"}, {Name: "a", URL: "example.com"}, {Name: "a", URL: "http://127.0.0.1/"},
		{Name: "a", URL: "https://example.com", Types: []string{"nothing"}}, {Name: "a", URL: "https://example.com", Secret: "whsec_short"},
		{Name: "ci", URL: "https://example.com"},
	} {
		if _, err := r.AddWebhook(t.Context(), sam, bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// An event is sent as a CloudEvent under its id, and leaves the outbox.
func TestWebhooks_Lead(t *testing.T) {
	r := newHooksRig(t)
	if _, err := r.AddWebhook(t.Context(), sam, wire.WebhookRequest{Name: "ci", URL: "https://example.com/x", Types: []string{"secret.set"}}); err != nil {
		t.Fatal(err)
	}
	r.lead(t)
	r.state.Apply(&fsm.Command{Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: "A", Sealed: []byte("x"), SetAt: at}}})
	testutil.Eventually(t, 10*time.Second, func() error {
		if w := r.one(t); w.Delivered != 1 || w.Waiting != 0 || w.Last == nil || !w.Last.Accepted || w.Last.Status != 200 || w.Last.Event != "c1-2-0" {
			return fmt.Errorf("%+v", w)
		}
		// It is counted after it was recorded.
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.counts["delivered"] != 1 || len(r.counts) != 1 {
			return fmt.Errorf("counts %v", r.counts)
		}
		return nil
	})

	r.mu.Lock()
	defer r.mu.Unlock()
	var event wire.CloudEvent
	if err := json.Unmarshal(r.sent[0].Body, &event); err != nil {
		t.Fatal(err)
	}
	if len(r.sent) != 1 || r.sent[0].ID != "c1-2-0" || event.ID != "c1-2-0" || event.SpecVersion != "1.0" || event.Data.CustomData.Data.Subject != "A" {
		t.Errorf("%d sent, the first %+v", len(r.sent), event)
	}
}

// A leader that is too busy at first to say what is committed sends a little later.
func TestWebhooks_Lead_busy(t *testing.T) {
	r := newHooksRig(t)
	fails := 2
	r.cfg.Barrier = func(context.Context) error {
		if fails--; fails >= 0 {
			return pipeline.Errorf(pipeline.Unavailable, "busy")
		}
		return nil
	}
	r.Webhooks = outbox.New(r.cfg)
	if _, err := r.AddWebhook(t.Context(), sam, wire.WebhookRequest{Name: "ci", URL: "https://example.com/x", Types: []string{"secret.set"}}); err != nil {
		t.Fatal(err)
	}
	r.lead(t)
	r.state.Apply(&fsm.Command{Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: "A", Sealed: []byte("x"), SetAt: at}}})
	testutil.Eventually(t, 10*time.Second, func() error {
		if w := r.one(t); w.Delivered != 1 {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})
}

// A receiver that answers that it is gone gets nothing more until it is switched on.
func TestWebhooks_RetryWebhook(t *testing.T) {
	r := newHooksRig(t)
	if _, err := r.AddWebhook(t.Context(), sam, wire.WebhookRequest{Name: "ci", URL: "https://example.com/x", Types: []string{"secret.set"}}); err != nil {
		t.Fatal(err)
	}
	r.status = http.StatusGone
	r.lead(t)
	r.state.Apply(&fsm.Command{Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: "A", Sealed: []byte("x"), SetAt: at}}})
	testutil.Eventually(t, 10*time.Second, func() error {
		if w := r.one(t); w.Off == "" || w.Waiting != 1 || w.Failures != 1 {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})

	r.mu.Lock()
	r.status = http.StatusNoContent
	r.mu.Unlock()
	w, err := r.RetryWebhook(t.Context(), sam, "ci")
	if err != nil || w.Off != "" || w.Waiting != 1 {
		t.Fatalf("%v, %+v", err, w)
	}
	testutil.Eventually(t, 10*time.Second, func() error {
		if w := r.one(t); w.Delivered != 1 || w.Waiting != 0 {
			return fmt.Errorf("%+v", w)
		}
		return nil
	})
	if _, err := r.RetryWebhook(t.Context(), sam, "none"); pipeline.KindOf(err) != pipeline.NotFound {
		t.Error(err)
	}
}

// While a secret is replaced, both sign.
func TestWebhooks_RotateWebhook(t *testing.T) {
	r := newHooksRig(t)
	first, err := r.AddWebhook(t.Context(), sam, wire.WebhookRequest{Name: "ci", URL: "https://example.com/x"})
	if err != nil {
		t.Fatal(err)
	}
	signers := func() int {
		t.Helper()
		if d, err := r.TestWebhook(t.Context(), sam, "ci"); err != nil || !d.Accepted || d.Text != "noted" || !strings.HasPrefix(d.Event, "c1-test-") {
			t.Fatalf("%v, %+v", err, d)
		}
		return len(r.keys)
	}
	if n := signers(); n != 1 {
		t.Errorf("%d secrets sign", n)
	}
	second, err := r.RotateWebhook(t.Context(), sam, "ci", wire.WebhookRotate{KeepSeconds: 3600})
	if err != nil || second.Secret == first.Secret || second.OldSecretUntil == nil {
		t.Fatalf("%v, %+v", err, second.WebhookInfo)
	}
	if n := signers(); n != 2 {
		t.Errorf("%d secrets sign", n)
	}
	third, err := r.RotateWebhook(t.Context(), sam, "ci", wire.WebhookRotate{})
	if err != nil || third.OldSecretUntil != nil {
		t.Fatalf("%v, %+v", err, third.WebhookInfo)
	}
	if n := signers(); n != 1 {
		t.Errorf("%d secrets sign", n)
	}
	for _, bad := range []wire.WebhookRotate{{KeepSeconds: -1}, {KeepSeconds: 1e9}, {Secret: "x"}} {
		if _, err := r.RotateWebhook(t.Context(), sam, "ci", bad); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := r.RotateWebhook(t.Context(), sam, "none", wire.WebhookRotate{}); pipeline.KindOf(err) != pipeline.NotFound {
		t.Error(err)
	}

	// One whose secret does not open says so, and sends nothing.
	r.state.Apply(&fsm.Command{Hook: &fsm.Hook{Do: fsm.HookRotate, Record: fsm.HookRecord{Name: "ci", Sealed: []byte("of another key")}}})
	before := len(r.sent)
	if d, err := r.TestWebhook(t.Context(), sam, "ci"); err != nil || d.Accepted || !strings.Contains(d.Text, "pipelined webhooks rotate ci") || len(r.sent) != before {
		t.Errorf("%v, %+v", err, d)
	}
	if err := r.RemoveWebhook(t.Context(), sam, "ci"); err != nil {
		t.Error(err)
	}
	if _, err := r.TestWebhook(t.Context(), sam, "ci"); pipeline.KindOf(err) != pipeline.NotFound {
		t.Error(err)
	}
}

// The leader adds the webhooks of its configuration, and changes nothing if they are
// there as it has them.
func TestWebhooks_Lead_configuration(t *testing.T) {
	r := newHooksRig(t)
	d := outbox.Definition{Name: "ci", URL: "https://example.com/x", Types: []string{"run"}, Secret: webhook.NewSecret()}
	lead := func() {
		t.Helper()
		r.cfg.Defined = []outbox.Definition{d}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() {
			outbox.New(r.cfg).Lead(ctx)
			close(done)
		}()
		testutil.Eventually(t, 10*time.Second, func() error {
			if list, err := r.Webhooks.Webhooks(ctx); err != nil || len(list.Webhooks) != 1 || list.Webhooks[0].URL != d.URL {
				return fmt.Errorf("%v, %+v", err, list)
			}
			return nil
		})
		cancel()
		<-done
	}
	lead()
	index := r.state.Store.Index()
	lead()
	if got := r.state.Store.Index(); got != index {
		t.Errorf("what is there was proposed again, at %d", got)
	}
	d.URL, d.Secret = "https://example.com/y", webhook.NewSecret()
	lead()
	if w := r.one(t); !w.Config || w.OldSecretUntil == nil {
		t.Errorf("%+v", w)
	}
}
