// Package service implements the API's interfaces on top of the replicated
// state: one small type per interface, one file per call or per few calls that
// belong together. A change is proposed through internal/state, which finds the
// leader; a read comes from the state of this node.
//
// It does not know HTTP, raft or how bytes travel. All types are safe for
// concurrent use and start no goroutines.
package service
