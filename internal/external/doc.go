// Package external serves external workers: programs that are no nodes, register
// over HTTP and are sent modules over HTTP. It also serves the other direction of
// the same protocol: a program that asks this node to execute one module.
//
// External workers see neither the peer port nor the cluster key. What they
// report is checked and masked here, because they do neither.
package external
