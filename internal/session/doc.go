// Package session runs interactive processes in the directories of attempts, for
// pipelined exec. The node that was asked finds the attempt's worker; if that is
// another node, the request and its frames pass through over the peer port.
//
// A process lives no longer than its caller and the directory: the end of either
// stream, of the context, or of the directory ends the whole session of the
// process, with HUP and then with KILL. The package knows nothing of what the
// worker runs beside it.
package session
