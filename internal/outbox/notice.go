package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/webhook"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/calendar"
	"github.com/pipelined/pipelined/pipeline/safetext"
)

const (
	// noticeLimit bounds how long the outputs of the modules that failed are read for:
	// a notification is not held up by a node that is away.
	noticeLimit = 10 * time.Second
	// maxSlackLines bounds the lines of one module in a message, in bytes, with what
	// escaping adds: Slack cuts texts of 40,000.
	maxSlackLines = 3000
)

// LogText is the output of a finished attempt.
type LogText interface {
	io.ReaderAt
	io.Closer
}

// queued is an event as the sender gets it. What a notification says is made when it is
// sent: it reads outputs, which may be on other nodes.
func (w *Webhooks) queued(rec *fsm.HookRecord, e *fsm.OutboxEvent) (webhook.Queued, error) {
	out := webhook.Queued{At: e.Since, Tries: e.Tries}
	in := wire.EventOf(w.cfg.ClusterID(), &e.Event)
	if e.Event.Type == pipeline.EventRunNotified {
		event, slack := e.Event, rec.Format == fsm.HookSlack
		out.Message = webhook.Message{ID: in.ID, Build: func(ctx context.Context) ([]byte, error) {
			notice := w.notice(ctx, &event)
			if slack {
				return slackBody(noticeText(&notice, w.base()))
			}
			in.Notice = &notice
			return w.cloudEvent(in)
		}}
		return out, nil
	}

	var err error
	out.Message, err = w.message(rec.Format, in)
	return out, err
}

// notice is what a notification says. If its run is no longer kept, or has been retried,
// it says what the event does.
func (w *Webhooks) notice(ctx context.Context, e *pipeline.Event) pipeline.RunNotice {
	ctx, cancel := context.WithTimeout(ctx, noticeLimit)
	defer cancel()

	out := pipeline.RunNotice{Event: e.On, Pipeline: e.Pipeline, Run: e.Run, Number: e.Number, Status: pipeline.RunState(e.State)}
	var run pipeline.Run
	var def *pipeline.Pipeline
	err := w.cfg.State.View(func(v *fsm.View) (err error) {
		var ok bool
		if run, ok = v.Run(e.Run); !ok {
			return pipeline.NoRun(e.Run)
		}
		if def, err = v.Definition(e.Run); err != nil || e.On != pipeline.NotifyStart && string(run.State) != e.State {
			return err
		}
		out, err = v.RunNotice(&run, e.On)
		return err
	})
	out.Status = pipeline.RunState(e.State)
	if err != nil {
		w.cfg.Logger.Warn("a notification says less than it should: its run cannot be read", "run", e.Run, "error", err)
		return out
	}

	out.Message = w.messageOf(ctx, def, &run, e)
	for i := range out.Failed {
		w.addLines(ctx, &out.Failed[i])
	}
	return out
}

// messageOf is the message of a notify block; if its expression fails, the error.
func (w *Webhooks) messageOf(ctx context.Context, def *pipeline.Pipeline, run *pipeline.Run, e *pipeline.Event) string {
	for i := range def.Notify {
		n := &def.Notify[i]
		if n.Name != e.Notify {
			continue
		}
		if n.Deferred == nil {
			return n.Message
		}

		c := *def
		c.Scope.RunID, c.Scope.RunNumber, c.Scope.RunTick, c.Scope.RunStatus = string(run.ID), run.Number, calendar.Text(run.Tick, run.Zone), e.State
		m := &pipeline.Module{Name: "notify[" + n.Name + "]", Deferred: map[string]pipeline.DeferredExpr{pipeline.DeferredNotify: *n.Deferred}, Expensive: n.Expensive}
		values, err := w.cfg.Evaluate(ctx, &c, m, nil)
		if err != nil {
			return "(message: " + err.Error() + ")"
		}
		return values.Message
	}
	return ""
}

// addLines reads the last lines of a module that failed.
func (w *Webhooks) addLines(ctx context.Context, f *pipeline.FailedModule) {
	log := &pipeline.Attempt{Log: f.Log, LogSize: f.LogSize, Holders: f.Holders}
	f.Log, f.LogSize, f.Holders = "", 0, nil
	if log.Log == "" || log.LogSize == 0 {
		return
	}

	text, err := w.cfg.OpenLog(ctx, log)
	if err == nil {
		defer text.Close()
		f.Lines, err = safetext.LastLines(text, log.LogSize, pipeline.MaxNoticeLines, pipeline.MaxNoticeLineBytes)
	}
	if err != nil {
		f.Note = "its output cannot be read: " + err.Error()
	}
}

// slackBody is a text as incoming webhooks of Slack take it.
func slackBody(text string) ([]byte, error) {
	return json.Marshal(struct {
		Text string `json:"text"`
	}{text})
}

// escapeSlack writes a text so that nothing in it is a link or a mention.
var escapeSlack = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace

// noticeText is a notification in the markup of Slack. base is the address of the
// dashboard; "" if it is not known.
func noticeText(n *pipeline.RunNotice, base string) string {
	var b strings.Builder
	name := escapeSlack(fmt.Sprintf("%s %d", n.Pipeline, n.Number))
	if base != "" {
		name = fmt.Sprintf("<%s|%s>", wire.RunURI(base, n.Run), name)
	}
	fmt.Fprintf(&b, "*%s* %s", name, eventWords(n))
	if n.Reason != "" && n.Event == pipeline.NotifyFailure {
		b.WriteString(": " + escapeSlack(safetext.Clean(n.Reason)))
	}

	var facts []string
	switch {
	case n.Schedule != "":
		facts = append(facts, "by its schedule")
	case n.Submitter != "":
		facts = append(facts, "submitted by "+escapeSlack(safetext.Clean(n.Submitter)))
	}
	if n.Seconds > 0 {
		facts = append(facts, "in "+tookText(n.Seconds))
	}
	if len(facts) > 0 {
		b.WriteString(" (" + strings.Join(facts, ", ") + ")")
	}

	if n.Message != "" {
		b.WriteString("\n" + escapeSlack(n.Message))
	}
	for i := range n.Failed {
		writeFailed(&b, &n.Failed[i])
	}
	if n.More > 0 {
		fmt.Fprintf(&b, "\n… and %d more", n.More)
	}
	return b.String()
}

func eventWords(n *pipeline.RunNotice) string {
	switch n.Event {
	case pipeline.NotifyStart:
		return "started"
	case pipeline.NotifyRecovery:
		return pipeline.Words(n.Status) + ", after a failure"
	}
	return pipeline.Words(n.Status)
}

func tookText(seconds float64) string {
	if seconds < 10 {
		return fmt.Sprintf("%.1fs", seconds)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// writeFailed writes a module that failed, and its last lines.
func writeFailed(b *strings.Builder, f *pipeline.FailedModule) {
	reason := safetext.Clean(f.Reason)
	if reason == "" && f.ExitCode != nil {
		reason = fmt.Sprintf("exit code %d", *f.ExitCode)
	}
	fmt.Fprintf(b, "\n• *%s*", escapeSlack(f.Module))
	if reason != "" {
		b.WriteString(": " + escapeSlack(reason))
	}
	if f.Attempt > 1 {
		fmt.Fprintf(b, " (attempt %d)", f.Attempt)
	}
	if f.Note != "" {
		b.WriteString("\n" + escapeSlack(safetext.Clean(f.Note)))
	}

	size := 0
	from := len(f.Lines)
	for from > 0 && size+len(escapeSlack(f.Lines[from-1])) <= maxSlackLines {
		from--
		size += len(escapeSlack(f.Lines[from])) + 1
	}
	if from < len(f.Lines) {
		// Its own fence would end the block.
		text := strings.ReplaceAll(strings.Join(f.Lines[from:], "\n"), "```", "'''")
		b.WriteString("\n```\n" + escapeSlack(text) + "\n```")
	}
}
