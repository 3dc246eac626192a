// Package external tests the worker of examples/external-worker against a fake
// cluster that has only the HTTP protocol. test/e2e tests it against a real one.
package external
