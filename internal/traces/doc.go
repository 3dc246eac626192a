// Package traces exports what became of runs to a collector of OpenTelemetry. The leader
// does, when a run has ended, from the replicated state alone, so no span is lost with a
// node, and without a collector there is no cost.
//
// The trace's id is the run's, and each span's id follows from its module, attempt and
// phase. A leader that exports the last runs of its predecessor once more exports the same.
package traces
