// Package backup is the format of a snapshot file: the replicated state of a
// cluster at one index, and, if that is wanted, the bytes that it names.
//
// A file is a tar archive of, in this order, header.json, seal, state, any
// number of blobs/DIGEST, and end.json. The header names the digest of the
// state and is sealed with the cluster key, so that a state that was changed is
// never restored. The end has a checksum of the entries before it: of their names,
// which have the digests of blobs, their sizes, and the bytes of the small ones. So
// a file that was cut off, or misses an entry, is not taken for a whole one. Secrets in the state are sealed
// with the cluster key already, and tokens are hashes.
//
// It neither connects to a cluster nor knows one: callers give it the state to
// write, and read it back from a store of their own. A Writer and a Reader are
// for one goroutine.
package backup
