package history

import (
	"context"
	"slices"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// figureRuns is how many of the newest runs that ended give the figures of a pipeline
	// in the list.
	figureRuns = 50
	// keptRuns is how many of its newest runs are looked at for them.
	keptRuns = 100
	// The trend compares the newest trendNew durations with at most trendOld before
	// them; fewer than trendLeast of each say nothing.
	trendNew, trendOld, trendLeast = 5, 20, 3
)

// pipelineRuns are the runs of one pipeline.
type pipelineRuns struct {
	name string
	// count counts them, active those that have not ended.
	count, active int
	// newest are the newest ones, newest first.
	newest []pipeline.Run
	// schedule is that of the pipeline; nil if it has none.
	schedule *fsm.ScheduleRecord
}

// add adds a run that is older than those before; of newest there are at most most.
func (p *pipelineRuns) add(r pipeline.Run, most int) {
	p.count++
	if !r.State.Final() {
		p.active++
	}
	if len(p.newest) < most {
		p.newest = append(p.newest, r)
	}
}

// Pipelines lists pipelines by their newest run, and then those that have only a
// schedule.
func (h *History) Pipelines(_ context.Context, newest int) (wire.PipelineList, error) {
	out := wire.PipelineList{Pipelines: []wire.PipelineSummary{}}
	err := h.cfg.State.View(func(v *fsm.View) error {
		var all []*pipelineRuns
		byName := map[string]*pipelineRuns{}
		find := func(name string) *pipelineRuns {
			p := byName[name]
			if p == nil {
				p = &pipelineRuns{name: name}
				byName[name] = p
				all = append(all, p)
			}
			return p
		}
		v.Runs(0, func(r pipeline.Run) bool {
			find(r.Pipeline).add(r, keptRuns)
			return true
		})

		schedules := v.Schedules()
		for i := range schedules {
			find(schedules[i].Name).schedule = &schedules[i]
		}
		for _, p := range all {
			s := h.summaryOf(p, figureRuns)
			s.Newest = s.Newest[:min(len(s.Newest), newest)]
			out.Pipelines = append(out.Pipelines, s)
		}
		return nil
	})
	return out, err
}

// summaryOf gives the runs of a pipeline and its next tick, and the figures of the most
// newest runs that ended.
func (h *History) summaryOf(p *pipelineRuns, most int) wire.PipelineSummary {
	out := wire.PipelineSummary{Name: p.name, Runs: p.count, Active: p.active, Newest: make([]wire.RunPoint, 0, len(p.newest))}
	var took []time.Duration // of those that succeeded
	var ended, failed, cached, good int
	for i := range p.newest {
		r := &p.newest[i]
		out.Newest = append(out.Newest, pointOf(r))
		if !r.State.Final() || r.State == pipeline.RunCancelled || ended == most {
			continue
		}
		ended++
		cached += r.Cached
		good += r.Done - r.Replaced - r.Failed - r.Warnings - r.Skipped
		if r.State == pipeline.RunFailed {
			failed++
			continue
		}
		took = append(took, tookOf(r))
	}

	out.P50Seconds, out.P95Seconds, out.Trend = percentile(took, 50), percentile(took, 95), trend(took)
	out.FailureRate, out.CacheRate = rate(failed, ended), rate(cached, good)
	if rec := p.schedule; rec != nil {
		if out.Paused = rec.Paused; !out.Paused {
			out.Next = wire.TimeOf(h.cfg.NextTick(rec))
		}
	}
	return out
}

func pointOf(r *pipeline.Run) wire.RunPoint {
	p := wire.RunPoint{ID: r.ID, Number: r.Number, State: r.State, SubmittedAt: r.SubmittedAt.UTC(), FinishedAt: wire.TimeOf(r.FinishedAt),
		Modules: r.Modules - r.Replaced, Cached: r.Cached, Failed: r.Failed + r.Warnings, Flaky: r.Flaky, Submitter: r.Submitter, Schedule: r.Schedule}
	if r.State.Final() {
		p.Seconds = seconds(tookOf(r))
	}
	return p
}

// tookOf is how long a run that has ended took: without the time between its end and its
// retry.
func tookOf(r *pipeline.Run) time.Duration {
	return max(0, r.FinishedAt.Sub(r.SubmittedAt)-r.Idle)
}

func seconds(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}

// rate is a part of a whole; nil of nothing.
func rate(part, whole int) *float64 {
	if whole <= 0 {
		return nil
	}
	r := float64(part) / float64(whole)
	return &r
}

func percentile(list []time.Duration, p int) *float64 {
	d, ok := pipeline.Percentile(list, p)
	if !ok {
		return nil
	}
	return seconds(d)
}

// trend compares durations, newest first, with those before them.
func trend(list []time.Duration) *float64 {
	n := min(trendNew, len(list)/2)
	if n < trendLeast {
		return nil
	}
	before := list[n:min(len(list), n+trendOld)]
	now, _ := pipeline.Median(list[:n])
	was, _ := pipeline.Median(before)
	if was <= 0 {
		return nil
	}
	r := float64(now) / float64(was)
	return &r
}

// noPipeline is the error for a name that neither a run nor a schedule has.
func noPipeline(v *fsm.View, name string) error {
	var names []string
	v.Runs(0, func(r pipeline.Run) bool {
		if !slices.Contains(names, r.Pipeline) {
			names = append(names, r.Pipeline)
		}
		return len(names) < maxNearest
	})
	if nearest := pipeline.Nearest(name, names); nearest != "" {
		return pipeline.Errorf(pipeline.NotFound, "no run of pipeline %q is kept: did you mean %q?", name, nearest)
	}
	return pipeline.Errorf(pipeline.NotFound, "no run of pipeline %q is kept", name)
}

// maxNearest bounds among how many pipelines the nearest name is looked for.
const maxNearest = 200
