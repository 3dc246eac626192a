// Package peer carries messages between the nodes of a cluster: the documents
// themselves, a client that sends them and the server side that answers them.
// Messages travel as CBOR over HTTP/2 under mutual TLS; the cluster authenticates
// both ends before anything here runs. The package knows nothing of what a
// message does: the packages that own the state register their handlers.
package peer
