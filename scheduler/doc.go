// Package scheduler decides which ready module is assigned to which worker. It
// is pure: no goroutine, lock, logger, clock or randomness; the same view
// results in the same plan.
//
// Submitters are ordered by priority, then by fair share (fewest modules running
// first); the runs of one in the same way, the older run breaking ties; within a run
// modules are ordered by the longest path that starts at them. A module is placed on
// the least loaded worker that meets its requirements, unless another one has its
// large inputs (locality.go). Every ready module is placed or explained.
package scheduler
