// Package outside tests the worker of examples/outside-worker against a
// cluster that is nothing but its HTTP protocol. How it does with a real one
// is tested where real clusters are.
package outside
