// Package orchestrator is the leader's duty: it rebuilds a model of the active
// runs from the replicated state, plans, commits, dispatches, and repairs the
// difference between what should run and what workers report.
//
// One goroutine, the loop of a term (term.go), owns the model and all parts that
// work on it. Parts are plain structs, split by the state they own; they have no
// locks and must be called from the loop only. Other goroutines post functions to
// the loop's inbox. The exceptions are named where they are: the outbox of a link,
// the courier's goroutines, and the finder of cached results.
//
// The model is ahead of the replicated state by the proposals in flight. If the
// state machine refuses one, the run is read again from the state (commits.go).
// Nothing durable lives only here: the next term rebuilds everything.
package orchestrator
