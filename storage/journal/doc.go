// Package journal records which attempts a node has taken and how they ended,
// until the leader has committed that. It is one file of checksummed records
// that is appended to, and rewritten when it has grown.
//
// The entries in memory are the truth; the file is their copy for the next
// process. So damage of the file costs the records it hit and nothing else, and
// a failed write is repaired by writing the file again. The package knows
// nothing of what an attempt is, and starts no goroutine: Run is its owner's.
// All methods are safe for concurrent use.
//
// What a method has written survives the end of this process, however it ends,
// once the method returns. A power failure may take the last tenth of a second:
// docs/adr/0001 says why that is enough.
package journal
