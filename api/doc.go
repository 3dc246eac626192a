// Package api serves the HTTP API of a node. It decodes a request, makes one
// call to one of the interfaces in Config, and encodes the answer. It
// authenticates callers, forwards requests to the node that can answer them,
// bounds everything that it reads, and turns error kinds into statuses. It knows
// neither raft nor bbolt.
//
// Each interface stands next to the handlers that use it and to their rows of the
// table of all calls: a new call is a method of an interface, a row and a handler in
// one file. A new handler is listed in routes.go.
package api
