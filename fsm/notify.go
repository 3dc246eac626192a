package fsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// maxNotify bounds the notify blocks of a run that go to webhooks.
const maxNotify = 32

// badNotify is why notifications cannot be kept; "" if they can.
func badNotify(list []pipeline.NotifyTarget) string {
	long := func(s string) bool { return len(s) > maxNameBytes }
	for _, t := range list {
		if len(list) > maxNotify || t.Webhook == "" || long(t.Name) || long(t.Webhook) || len(t.On) > 8 || slices.ContainsFunc(t.On, long) {
			return "the notifications of the run are too many or too long"
		}
	}
	return ""
}

// noTarget is why a webhook does not take notifications of a pipeline; nil if it does.
func (h *hooks) noTarget(name, of string) error {
	rec, _ := h.find(name)
	switch {
	case rec == nil:
		names := make([]string, len(h.list))
		for i := range h.list {
			names[i] = h.list[i].Name
		}
		return pipeline.NoWebhook(name, names)
	case len(rec.Pipelines) > 0 && !slices.Contains(rec.Pipelines, of):
		return pipeline.Errorf(pipeline.Invalid, "webhook %s is for pipelines %s only", name, strings.Join(rec.Pipelines, ", "))
	}
	return nil
}

// accepts returns an error for the first notification that has no webhook. The kind is
// Invalid: what is missing is named by the pipeline.
func (h *hooks) accepts(list []pipeline.NotifyTarget, of string) error {
	if why := badNotify(list); why != "" {
		return pipeline.Errorf(pipeline.Invalid, "%s", why)
	}
	for _, t := range list {
		if err := h.noTarget(t.Webhook, of); err != nil {
			hint := ""
			if pipeline.KindOf(err) == pipeline.NotFound {
				hint = " (an admin adds one with pipelined webhooks add)"
			}
			return pipeline.Errorf(pipeline.Invalid, "notify %q: %w%s", t.Name, err, hint)
		}
	}
	return nil
}

// notify makes the notifications of a run that begins or has ended. pick chooses the
// event among those that a block is for; "" is none.
func (st *state) notify(r *pipeline.Run, pick func(on []string) string) {
	for i := range r.Notify {
		t := &r.Notify[i]
		event := pick(t.On)
		if event == "" {
			continue
		}

		notice := pipeline.Notice{Name: t.Name, Event: event, Webhook: t.Webhook, State: pipeline.NoticeWaiting, At: st.at, Index: st.index, N: len(st.news)}
		e := pipeline.Event{Type: pipeline.EventRunNotified, Notify: t.Name, On: event, Subject: t.Webhook, State: string(r.State), Count: r.Failed}
		if why := st.unsent(t.Webhook, r.Pipeline); why != "" {
			notice.State, notice.Reason, e.Reason = pipeline.NoticeUnsent, why, why
		}
		st.happenedTo(r, e)
		r.Notices = append(slices.Clone(r.Notices), notice)
		r.Notices = r.Notices[max(0, len(r.Notices)-pipeline.MaxNotices):]
	}
}

// unsent is why a webhook gets no notification now; "" if it does.
func (st *state) unsent(name, of string) string {
	if err := st.hooks.noTarget(name, of); err != nil {
		return pipeline.CutText(err.Error(), maxHookText)
	}
	if rec, _ := st.hooks.find(name); rec.Off != "" {
		return fmt.Sprintf("webhook %s is switched off: %s", name, rec.Off)
	}
	return ""
}

// notifyEnd makes the notifications of a run that has ended, and notes whether it
// failed. A cancelled run says nothing about its pipeline, nor does an untrusted one:
// anyone's change may fail, and its pipeline may only have the name.
func (st *state) notifyEnd(r *pipeline.Run) {
	key := []byte(r.Pipeline)
	if r.Untrusted || badName("", r.Pipeline) != "" {
		return
	}
	before := st.tx.Bucket(bFailing).Get(key) != nil
	switch r.State {
	case pipeline.RunFailed:
		st.putRaw(bFailing, key, []byte(r.ID))
	case pipeline.RunSucceeded, pipeline.RunWarnings:
		if before {
			st.del(bFailing, key)
		}
	}
	st.notify(r, func(on []string) string { return pipeline.NotifyEvent(on, r.State, before) })
}

// Failing reports whether the run of a pipeline that ended last had failed, cancelled
// and untrusted runs left out. A run that is no longer kept does not count.
func (v *View) Failing(name string) bool { return v.tx.Bucket(bFailing).Get([]byte(name)) != nil }

// answered is what came of a delivery, for all who see the run: the words of an answer,
// and where the receiver is, are for administrators.
func answered(d *HookDelivery) string {
	if d.Status == 0 {
		return "no answer"
	}
	return fmt.Sprintf("answered %d", d.Status)
}

// noteNotice notes in a run what became of one of its notifications.
func (h *hooks) noteNotice(e *pipeline.Event, state, reason string, ch *change) {
	if e.Type != pipeline.EventRunNotified {
		return
	}
	r := h.runs.run(e.Run)
	if r == nil {
		return
	}
	for i := range r.Notices {
		if n := &r.Notices[i]; n.Index == e.Index && n.N == e.N {
			r.Notices = slices.Clone(r.Notices)
			n = &r.Notices[i]
			n.State, n.Reason, n.At = state, pipeline.CutText(reason, pipeline.MaxEventText), h.at
			h.runs.touch(r)
			ch.run(r.ID, false)
			return
		}
	}
}

// RunNotice is what a notification says of a run as it is now. Messages and lines of
// output are not part of it.
func (v *View) RunNotice(run *pipeline.Run, event string) (pipeline.RunNotice, error) {
	out := pipeline.RunNotice{Event: event, Pipeline: run.Pipeline, Run: run.ID, Number: run.Number, Status: run.State, Reason: run.Reason,
		Submitter: run.Submitter, Schedule: run.Schedule}
	if event == pipeline.NotifyStart {
		out.Reason = "" // of what came later
	} else if !run.FinishedAt.IsZero() {
		out.Seconds = max(0, run.FinishedAt.Sub(run.StartedAt)-run.Idle).Seconds()
	}
	if event != pipeline.NotifyFailure {
		return out, nil
	}

	return out, v.addFailed(&out, run.ID, "")
}

// addFailed adds the modules of a run that failed to a notification. In the place of one that
// runs a pipeline are those that failed there, as MODULE/THEIRS: they have the output.
func (v *View) addFailed(out *pipeline.RunNotice, id pipeline.RunID, prefix string) error {
	def, err := v.RunModules(id)
	if err != nil {
		return err
	}
	records := v.Modules(id)
	for i := range def {
		m := records[def[i].Name]
		if m == nil || m.State != pipeline.ModuleFailed || m.Ignored {
			continue
		}
		if c := m.LastChild(); c != nil && c.State == pipeline.RunFailed {
			before := len(out.Failed) + out.More
			if _, kept := v.Run(c.Run); kept {
				if err := v.addFailed(out, c.Run, prefix+m.Name+"/"); err != nil {
					return err
				}
			}
			if len(out.Failed)+out.More > before {
				continue
			}
		}

		if len(out.Failed) == pipeline.MaxNoticeModules {
			out.More++
			continue
		}
		f := pipeline.FailedModule{Module: prefix + m.Name, Reason: m.Reason, ExitCode: m.ExitCode}
		if a := m.Last(); a != nil {
			f.Attempt, f.Worker, f.Log, f.LogSize, f.Holders = a.Number, a.WorkerName, a.Log, a.LogSize, a.Holders
			if f.Reason == "" {
				f.Reason = a.Reason
			}
		}
		out.Failed = append(out.Failed, f)
	}
	return nil
}
