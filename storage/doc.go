// Package storage is the data directory of a node and its lock: what lies where
// in it, and the small files that a node and its agent keep there. The packages
// below it hold what it contains.
//
// It knows nothing of clusters, processes or the network. All types are safe for
// concurrent use unless they say otherwise.
package storage
