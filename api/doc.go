// Package api is the HTTP face of a node: it decodes a request, makes one call
// to the Backend, and encodes the answer. It authenticates callers, forwards
// requests to the node that can answer them, bounds everything that it reads,
// and turns error kinds into statuses. It knows neither raft nor bbolt.
package api
