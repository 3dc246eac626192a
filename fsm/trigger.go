package fsm

import "github.com/pipelined/pipelined/pipeline"

// trigger makes a run of a schedule that no tick asked for.
func (s *schedules) trigger(c *Command, rec *ScheduleRecord, ch *change) FireResult {
	if old := s.triggered(c.Fire); old != nil {
		return FireResult{Schedule: *rec, Run: *old, Repeated: true}
	}

	if busy := s.queues.first(queueOfSchedule, rec.Name); busy != "" && rec.Schedule.Overlap == pipeline.OverlapSkip {
		return FireResult{Schedule: *rec, Err: pipeline.Errorf(pipeline.Conflict, "run %s of the schedule has not finished, and its overlap is skip", busy)}
	}

	if f := c.Fire; f.Definition != nil && f.Revision != rec.Revision {
		return FireResult{Schedule: *rec, Err: pipeline.Errorf(pipeline.Conflict, "schedule %s was registered again or resumed meanwhile: trigger it again", rec.Name)}
	}

	r := rec.run(c.Fire.Run, c.Fire.By)
	r.Key, r.Tick, r.Trigger = triggerKey(c.Fire), c.Fire.Tick, pipeline.TriggerManual
	r.Untrusted = c.Fire.Untrusted
	if f := c.Fire; f.Definition != nil {
		r.Modules, r.Group, r.Cancels, r.Notify = f.Modules, f.Group, f.Cancels, f.Notify
	}

	if err := s.scheduledRun(&r, c, ch); err != nil {
		return FireResult{Schedule: *rec, Err: err}
	}

	if r.Key != "" {
		s.putKey(r.Key, keyRecord{Run: r.ID})
	}

	return FireResult{Schedule: *rec, Run: r}
}

// triggerKey is the key under which what was triggered is found again.
func triggerKey(f *Fire) string {
	if f.Key == "" {
		return ""
	}
	return "trigger:" + f.Schedule + ":" + f.Key
}

// triggered finds the run that the same request has made; nil if there is
// none.
func (s *schedules) triggered(f *Fire) *pipeline.Run {
	if old := s.runs.run(f.Run); old != nil && old.Schedule == f.Schedule {
		return old // a repeat of the proposal
	}

	key := triggerKey(f)
	if key == "" || len(key) > maxNameBytes {
		return nil
	}

	b := s.tx.Bucket(bKeys).Get([]byte(key))
	if b == nil {
		return nil
	}

	var k keyRecord
	mustUnmarshal(b, &k)

	return s.runs.run(k.Run)
}
