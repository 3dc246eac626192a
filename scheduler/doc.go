// Package scheduler decides which ready module goes to which worker. It is
// pure: no goroutine, lock, logger, clock or randomness; the same view gives
// the same plan.
//
// Runs are ordered by priority, then by fair share (fewest modules running
// first, the older run breaking ties); within a run by the longest path that
// starts at the module. A module goes to the least loaded worker that has what it
// requires, unless another one has its large inputs (locality.go). Every ready
// module is placed or explained.
package scheduler
