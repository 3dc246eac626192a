// Package remotecache holds the entries of the remote caches of Bazel, ccache and
// Turborepo. An entry is a record in the replicated state that names a blob; the
// bytes are on two nodes, if there are two, before the record is committed.
//
// A cache may forget: if no node has the bytes of an entry it is a miss, and the
// entry is deleted. It must not lie: bytes are verified before they are given.
// Requests of many clients share syncs, messages and entries of the log (batcher).
package remotecache
