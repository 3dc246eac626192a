package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pipelined/pipelined/pipeline"
)

// Leader is what the leader measures: what it decided, once that is committed.
type Leader struct {
	names names

	runs        *prometheus.HistogramVec
	runErrors   *prometheus.CounterVec
	attempts    *prometheus.CounterVec
	ran         *prometheus.HistogramVec
	queued      prometheus.Observer
	planner     prometheus.Observer
	assignments prometheus.Counter
	lookups     *prometheus.CounterVec
	failover    prometheus.Observer
	adopted     prometheus.Counter
	repeated    prometheus.Counter
	deliveries  *prometheus.CounterVec
	system      *prometheus.CounterVec
}

// The labels of the conventions of OpenTelemetry for CI/CD, as Prometheus has them.
const (
	labelPipeline = "cicd_pipeline_name"
	labelState    = "cicd_pipeline_run_state"
	labelResult   = "cicd_pipeline_result"
	labelError    = "error_type"
)

func newLeader(f factory, system *prometheus.CounterVec) *Leader {
	m := &Leader{
		runs: f.histogram("cicd_pipeline_run_duration_seconds", "Time that runs were pending and executing, when they ended.", long,
			labelPipeline, labelState, labelResult, labelError),
		runErrors: f.counter("cicd_pipeline_run_errors_total", "Attempts that did not succeed, by the pipeline of their run.", labelPipeline, labelError),
		attempts:  f.counter("pipelined_attempts_total", "Attempts that ended, by outcome.", "outcome"),
		ran:       f.histogram("pipelined_attempt_duration_seconds", "Time that the processes of attempts took, by outcome.", long, "outcome"),
		queued: f.histogram("pipelined_attempt_queue_seconds",
			"Time from when a module waited for nothing but a worker or a lock until its attempt started.", long).WithLabelValues(),
		planner:     f.histogram("pipelined_planner_duration_seconds", "Time of one plan: which ready modules go to which workers.", quick).WithLabelValues(),
		assignments: f.counter("pipelined_assignments_total", "Attempts that were assigned to workers.").WithLabelValues(),
		lookups:     f.counter("pipelined_cache_lookups_total", "Modules that were looked up in the result cache, by result: hit, miss.", "result"),
		failover: f.histogram("pipelined_failover_seconds", "Time from the last sign of life of a leader until its successor could decide.",
			[]float64{.025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60}).WithLabelValues(),
		adopted:  f.counter("pipelined_attempts_adopted_total", "Attempts that a new leader found and kept.").WithLabelValues(),
		repeated: f.counter("pipelined_attempts_repeated_total", "Attempts that were lost with their worker, and whose module runs again.").WithLabelValues(),
		deliveries: f.counter("pipelined_webhook_deliveries_total",
			"Events that were sent to webhooks, by outcome: delivered, failed (it is sent again), gave_up; dropped are those for which the outbox had no place.", "outcome"),
		system: system,
	}

	start(m.attempts, "succeeded", "failed", "timed_out", "cancelled", "lost", "superseded")
	start(m.lookups, "hit", "miss")
	start(m.deliveries, "delivered", "failed", "gave_up", "dropped")
	return m
}

// RunEnded counts a run whose end is committed. The run's reason is not a label: it
// names modules.
func (m *Leader) RunEnded(run *pipeline.Run, state pipeline.RunState, at time.Time) {
	if m == nil {
		return
	}

	name := m.names.label(run.Pipeline)
	began := run.StartedAt
	if began.IsZero() {
		began = at
	}
	result := state.Result(run.TimedOut)
	m.runs.WithLabelValues(name, "pending", "", "").Observe(seconds(began.Sub(run.SubmittedAt)))
	m.runs.WithLabelValues(name, "executing", result, errorTypes[result]).Observe(seconds(at.Sub(began)))
}

// errorTypes are the errors behind the results of runs that did not succeed.
var errorTypes = map[string]string{"timeout": "timeout", "failure": "module_failed"}

// AttemptEnded counts an attempt whose outcome is committed. again is set if its
// module gets another one. readySince may be zero: not known.
func (m *Leader) AttemptEnded(name string, o *pipeline.Outcome, readySince time.Time, again bool) {
	if m == nil {
		return
	}

	outcome := string(o.State)
	m.attempts.WithLabelValues(outcome).Inc()
	if !o.StartedAt.IsZero() {
		m.ran.WithLabelValues(outcome).Observe(seconds(o.FinishedAt.Sub(o.StartedAt)))
		if !readySince.IsZero() {
			m.queued.Observe(seconds(o.StartedAt.Sub(readySince)))
		}
	}

	switch o.State {
	case pipeline.AttemptFailed, pipeline.AttemptTimedOut, pipeline.AttemptLost:
		m.runErrors.WithLabelValues(m.names.label(name), outcome).Inc()
	}
	if o.State == pipeline.AttemptLost {
		m.system.WithLabelValues("worker", "lost").Inc()
		if again {
			m.repeated.Inc()
		}
	}
}

// Superseded counts an outcome that came too late to count.
func (m *Leader) Superseded() {
	if m != nil {
		m.attempts.WithLabelValues(string(pipeline.AttemptSuperseded)).Inc()
	}
}

// Planned counts a plan.
func (m *Leader) Planned(took time.Duration) {
	if m != nil {
		m.planner.Observe(took.Seconds())
	}
}

// Assigned counts an assignment that is committed. looked is set if the result cache
// had nothing for it.
func (m *Leader) Assigned(looked bool) {
	if m == nil {
		return
	}

	m.assignments.Inc()
	if looked {
		m.lookups.WithLabelValues("miss").Inc()
	}
}

// CacheHit counts a module that ended with a cached result.
func (m *Leader) CacheHit() {
	if m != nil {
		m.lookups.WithLabelValues("hit").Inc()
	}
}

// Led counts the begin of a term, in which a number of attempts are under way.
// silent is the time since the last message of an earlier leader; 0 if there was none.
func (m *Leader) Led(adopted int, silent time.Duration) {
	if m == nil {
		return
	}

	m.adopted.Add(float64(adopted))
	if silent > 0 {
		m.failover.Observe(silent.Seconds())
	}
}

// Delivered counts events that were sent to webhooks, by what came of it.
func (m *Leader) Delivered(outcome string, n int) {
	if m != nil {
		m.deliveries.WithLabelValues(outcome).Add(float64(n))
	}
}

// seconds is never negative: the times of a span may come from two clocks.
func seconds(d time.Duration) float64 { return max(0, d.Seconds()) }
