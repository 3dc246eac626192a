// Package client is the typed client of the HTTP API: for the command line,
// for nodes and for tests, with one method per call, grouped by resource.
//
// A Client outlives the nodes that it talks to: it tries its addresses in turn,
// remembers the one that worked, learns the addresses of the other members, and
// repeats what may be repeated until the context ends or its bounds are
// reached. Errors are *pipeline.Error with the kind that the node gave, or
// *wire.SourceError for a refused pipeline. It knows nothing of the server's
// code. A Client is safe for concurrent use.
package client
