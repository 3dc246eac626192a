package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/outbox"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/internal/webhook"
	"github.com/pipelined/pipelined/pipeline"
)

// text is an output.
type text struct{ *strings.Reader }

func (text) Close() error { return nil }

// notifyRig is a rig with the webhooks chat (slack) and std, whose outputs are texts by
// digest.
func notifyRig(t *testing.T, logs map[pipeline.Digest]string) *hooksRig {
	t.Helper()
	r := newHooksRig(t)
	r.cfg.OpenLog = func(_ context.Context, a *pipeline.Attempt) (outbox.LogText, error) {
		if s, ok := logs[a.Log]; ok {
			return text{strings.NewReader(s)}, nil
		}
		return nil, errors.New("no node has it")
	}
	r.cfg.Evaluate = func(_ context.Context, def *pipeline.Pipeline, m *pipeline.Module, _ map[string]pipeline.UpstreamResult) (*pipeline.Evaluated, error) {
		if m.Deferred[pipeline.DeferredNotify].Source != "expression" {
			return nil, errors.New("what is it?")
		}
		return &pipeline.Evaluated{Message: fmt.Sprintf("run %d %s\n<!channel>", def.Scope.RunNumber, def.Scope.RunStatus)}, nil
	}
	r.Webhooks = outbox.New(r.cfg)
	for _, in := range []wire.WebhookRequest{{Name: "chat", URL: "https://example.com/chat", Format: "slack"}, {Name: "std", URL: "https://example.com/std", Types: []string{"node"}}} {
		out, err := r.AddWebhook(t.Context(), sam, in)
		if err != nil || (out.Secret == "") != (in.Format == "slack") {
			t.Fatalf("%+v: %v, %q", in, err, out.Secret)
		}
	}
	return r
}

// submit makes a run of modules that notifies both webhooks of failures.
func (r *hooksRig) submit(t *testing.T, id pipeline.RunID, modules int) {
	t.Helper()
	p := &pipeline.Pipeline{Name: "p<1>", Notify: []pipeline.Notify{
		{Name: "a", On: []string{"failure", "start"}, Webhook: "chat", Deferred: &pipeline.DeferredExpr{Source: "expression"}},
		{Name: "b", On: []string{"failure"}, Webhook: "std", Message: "look at it"}}}
	for i := range modules {
		p.Modules = append(p.Modules, pipeline.Module{Name: fmt.Sprint("m", i)})
	}
	raw, err := fsm.EncodeDefinition(p)
	if err != nil {
		t.Fatal(err)
	}
	r.state.Apply(&fsm.Command{At: at, Submit: &fsm.Submit{Definition: raw, Run: pipeline.Run{ID: id, Pipeline: p.Name, Modules: modules, Submitter: "ann", Notify: p.NotifyTargets()}}})
}

// fail ends modules and their run.
func (r *hooksRig) fail(id pipeline.RunID, modules int) {
	code := 3
	b := &fsm.Batch{}
	for i := range modules {
		id := pipeline.AttemptID{Run: id, Module: fmt.Sprint("m", i), Attempt: 1}
		b.Assigns = append(b.Assigns, fsm.Assign{ID: id, Worker: "w", WorkerName: "w"})
	}
	r.state.Apply(&fsm.Command{At: at, Batch: b})
	b = &fsm.Batch{Runs: []fsm.RunEnd{{Run: id, State: pipeline.RunFailed, Reason: "m0 failed"}}}
	for i := range modules {
		id := pipeline.AttemptID{Run: id, Module: fmt.Sprint("m", i), Attempt: 1}
		o := fsm.Outcome{Next: pipeline.ModuleFailed, Reason: "exit code 3", Outcome: pipeline.Outcome{ID: id, Worker: "w", State: pipeline.AttemptFailed, ExitCode: &code, FinishedAt: at.Add(time.Minute)}}
		if i < 3 {
			o.Outcome.Log, o.Outcome.LogSize = pipeline.Digest(fmt.Sprint("log", i)), 9
		}
		b.Outcomes = append(b.Outcomes, o)
	}
	r.state.Apply(&fsm.Command{At: at.Add(75 * time.Second), Batch: b})
}

// received waits for what came to a webhook.
func (r *hooksRig) received(t *testing.T, n int) (bodies []string) {
	t.Helper()
	testutil.Eventually(t, 10*time.Second, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.sent) != n {
			return fmt.Errorf("%d of %d were sent", len(r.sent), n)
		}
		bodies = nil
		for _, m := range r.sent {
			bodies = append(bodies, string(m.Body))
		}
		return nil
	})
	return bodies
}

// A notification says which modules failed, why, and what they wrote last; of an output
// that cannot be read, that. In a chat nothing of it is markup.
func TestWebhooks_notices(t *testing.T) {
	r := notifyRig(t, map[pipeline.Digest]string{"log0": "a\nb ```<&", "log1": "\x1b[31mred\n"})
	r.submit(t, "r1", 7)
	r.fail("r1", 7)
	r.lead(t)
	bodies := r.received(t, 3)

	var std wire.CloudEvent
	chat := map[string]bool{}
	for _, b := range bodies {
		var said struct{ Text string }
		if err := json.Unmarshal([]byte(b), &said); err != nil {
			t.Fatal(err)
		}
		if chat[said.Text] = true; said.Text == "" {
			delete(chat, "")
			if err := json.Unmarshal([]byte(b), &std); err != nil {
				t.Fatal(err)
			}
		}
	}
	const failed = "*<http://127.0.0.1:8080/runs/r1|p&lt;1&gt; 1>* failed: m0 failed (submitted by ann, in 1m15s)\nrun 1 failed\n&lt;!channel&gt;\n" +
		"• *m0*: exit code 3\n```\na\nb '''&lt;&amp;\n```\n• *m1*: exit code 3\n```\nred\n```\n• *m2*: exit code 3\nits output cannot be read: no node has it\n• *m3*: exit code 3\n• *m4*: exit code 3\n… and 2 more"
	const started = "*<http://127.0.0.1:8080/runs/r1|p&lt;1&gt; 1>* started (submitted by ann)\nrun 1 running\n&lt;!channel&gt;"
	if !chat[failed] || !chat[started] || len(chat) != 2 {
		t.Errorf("in the chat: %v", chat)
	}
	n := std.Data.CustomData.Notice
	if n == nil || n.Event != "failure" || n.Message != "look at it" || len(n.Failed) != 5 || n.More != 2 || n.Failed[0].Lines[1] != "b ```<&" || n.Failed[0].Log != "" ||
		*n.Failed[0].ExitCode != 3 || !strings.Contains(n.Failed[2].Note, "no node has it") || n.Seconds != 75 || std.Data.CustomData.Data.Notify != "b" || std.Data.CustomData.Data.On != "failure" {
		t.Errorf("the event: %+v, %+v", std.Data.CustomData, n)
	}

	testutil.Eventually(t, 10*time.Second, func() error {
		return r.state.View(func(v *fsm.View) error {
			run, _ := v.Run("r1")
			for _, n := range run.Notices {
				if n.State != pipeline.NoticeDelivered {
					return fmt.Errorf("%+v", n)
				}
			}
			return nil
		})
	})
}

// A run that is no longer kept when its notification is sent still has one.
func TestWebhooks_noticeOfForgottenRun(t *testing.T) {
	r := notifyRig(t, nil)
	r.submit(t, "r1", 1)
	r.fail("r1", 1)
	r.state.Apply(&fsm.Command{Forget: &fsm.Forget{Runs: []pipeline.RunID{"r1"}}})
	r.lead(t)
	for _, b := range r.received(t, 3) {
		if !strings.Contains(b, "failed") && !strings.Contains(b, "started") {
			t.Errorf("got %s", b)
		}
	}
}

// What has waited until its run was retried says how the run ended then.
func TestWebhooks_noticeOfRetriedRun(t *testing.T) {
	r := notifyRig(t, nil)
	r.submit(t, "r1", 1)
	r.fail("r1", 1)
	r.state.Apply(&fsm.Command{Retry: &fsm.Retry{Run: "r1", Modules: []string{"m0"}}})
	r.lead(t)
	for _, b := range r.received(t, 3) {
		if strings.Contains(b, "exit code") || strings.Contains(b, "attempt") {
			t.Errorf("got %s", b)
		}
	}
}

// A webhook of the format slack has no secret, and gets events of the types that it
// lists as text.
func TestWebhooks_slack(t *testing.T) {
	r := newHooksRig(t)
	for _, bad := range []wire.WebhookRequest{{Name: "x", URL: "https://example.com", Format: "teams"}, {Name: "x", URL: "https://example.com", Format: "slack", Secret: webhook.NewSecret()}} {
		if _, err := r.AddWebhook(t.Context(), sam, bad); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := r.AddWebhook(t.Context(), sam, wire.WebhookRequest{Name: "chat", URL: "https://example.com/chat", Format: "slack", Types: []string{"secret"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.RotateWebhook(t.Context(), sam, "chat", wire.WebhookRotate{}); pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("rotate: %v", err)
	}
	if d, err := r.TestWebhook(t.Context(), sam, "chat"); err != nil || !d.Accepted {
		t.Errorf("test: %v, %+v", err, d)
	}
	r.lead(t)
	r.state.Apply(&fsm.Command{Secret: &fsm.Secret{Record: fsm.SecretRecord{Name: "A&B", Sealed: []byte("x"), SetAt: at}}})
	want := []string{`{"text":"test of the webhook chat"}`, `{"text":"secret A\u0026amp;B was set"}`}
	if got := r.received(t, 2); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}
