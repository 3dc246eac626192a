// Package node is the one place that knows all rooms: it builds a node out of
// them, starts it, and stops it in order. The command line and the tests both
// use it, so that a node is wired once. It also implements the interfaces of package api:
// each call is turned into reads of the state, proposals, or messages to other
// nodes.
package node
