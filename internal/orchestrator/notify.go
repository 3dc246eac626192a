package orchestrator

import (
	"cmp"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// notifySkipReason is why the command of a notification does not run after a run that
// ended like this; "" if it runs, or is none.
func (l *lifecycle) notifySkipReason(m *moduleState) string {
	if m.def.Hook != pipeline.HookNotify {
		return ""
	}

	state, _ := m.run.outcome()
	event := pipeline.NotifyEvent(m.def.NotifyOn, state, failing(l.store, m.run.head.Pipeline))
	switch {
	case event != "":
		return ""
	case state == pipeline.RunCancelled:
		return "the run was cancelled"
	case state == pipeline.RunFailed:
		return "it does not notify of failures"
	case pipeline.NotifyEvent(m.def.NotifyOn, state, true) != "":
		return "the run before it had not failed"
	}
	return "it does not notify of successes"
}

// failing reports whether the run of a pipeline that ended last had failed.
func failing(store stateReader, name string) (yes bool) {
	err := store.View(func(v *fsm.View) error {
		yes = v.Failing(name)
		return nil
	})
	return yes && err == nil
}

// notice is what the command of a notification finds about its run. The outcomes of all
// that it waited for are in the state: its assignment named them.
func (d *dispatcher) notice(m *moduleState) (*pipeline.RunNotice, error) {
	var out pipeline.RunNotice
	err := d.store.View(func(v *fsm.View) (err error) {
		run, ok := v.Run(m.run.head.ID)
		if !ok {
			return pipeline.NoRun(m.run.head.ID)
		}
		event := pipeline.NotifyStart
		if m.def.Hook == pipeline.HookNotify {
			run.State, run.Reason = m.run.outcome()
			run.FinishedAt = time.Now() // as good as
			// Another run of the pipeline may have ended since this one was chosen.
			event = cmp.Or(pipeline.NotifyEvent(m.def.NotifyOn, run.State, v.Failing(run.Pipeline)), pipeline.NotifyRecovery)
		}
		out, err = v.RunNotice(&run, event)
		return err
	})
	return &out, err
}
