// Package chaos runs a cluster of real agents, each in a network namespace and
// on a file system of its own, submits runs to it without a pause, and breaks it
// at random: kills, pauses, partitions, full disks, flipped bytes, wrong clocks.
// At the end it compares what was acknowledged with what the cluster has, and
// what the processes did with what the cluster says.
//
// It needs root and `ip`, and does nothing unless PIPELINED_CHAOS says how long:
// see `make chaos`. The same seed gives the same faults in the same order; what
// they meet differs.
package chaos
