// Package metrics is what a node measures, in the form that Prometheus reads.
//
// There is one struct for each part of a node that measures something. A part is
// given its struct by its Config and calls it when something happens; a nil struct
// measures nothing, so that a part needs no switch. What is a state and no event
// is asked for when the page is read (Sources).
//
// Three rules keep sums right and the number of series bounded. An event is counted
// once in the cluster: by the node on which it happened, or by the leader when it is
// committed. States of the cluster come from the leader alone. No run, module, node,
// user or path is a label; names of pipelines are, the first 100 that a node meets.
//
// Everything is safe for concurrent use. Nothing here may be called by the state
// machine: what it applies again after a start would be counted again.
package metrics
