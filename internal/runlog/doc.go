// Package runlog reads and follows the output of modules, on whichever node it
// is. The output of an attempt that runs is a file on its worker, which other
// nodes read over the peer port; that of a finished one is a blob, with the
// record of its times behind the output.
//
// A reader sees the bytes of one attempt in order and without gaps: a follower
// that loses a worker reads on from the same offset, at the worker or, once the
// outcome is committed, in the blob. The package commits nothing and keeps
// nothing between calls.
package runlog
