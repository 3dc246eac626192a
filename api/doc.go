// Package api serves the HTTP API of a node. It decodes a request, makes one
// call to one of the interfaces in Config, and encodes the answer. It
// authenticates callers, forwards requests to the node that can answer them,
// bounds everything that it reads, and turns error kinds into statuses. It knows
// neither raft nor bbolt.
//
// Each interface stands next to the handlers that use it. The table of all calls
// is in routes.go; a new call gets a row there, a handler, and a method of an
// interface.
package api
