// Package scheduler decides which ready module is assigned to which worker. It
// is pure: no goroutine, lock, logger, clock or randomness; the same view
// results in the same plan.
//
// Runs are ordered by priority, then by fair share (fewest modules running
// first, the older run breaking ties); within a run by the longest path that
// starts at the module. A module is placed on the least loaded worker that
// meets its requirements, unless another one has its large inputs
// (locality.go). Every ready module is placed or explained.
package scheduler
