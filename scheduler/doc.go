// Package scheduler decides which ready module goes to which worker. It is
// pure: no goroutine, lock, logger, clock or randomness; the same view gives
// the same plan.
//
// Between runs it goes by priority, then by fair share (fewest modules running
// first, the older run breaking ties); within a run by the longest path that
// hangs on the module. A module goes to the least loaded worker that has what
// it requires. Everything that is ready is placed or explained.
package scheduler
