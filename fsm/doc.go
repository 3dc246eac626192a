// Package fsm is the replicated state machine: the commands, the bbolt file
// that holds the state, read-only views of it, snapshot and restore.
//
// Its rules: Apply reads only the state, the command and the log index. No
// clock, randomness, environment or network is reachable from apply*.go and
// state*.go (a test checks the imports); times and ids are fields that the
// proposer set. A business refusal is a returned value; a command that this
// version cannot read panics, so that replicas stop rather than differ.
//
// raft calls Apply, ApplyBatch, Snapshot and Restore from one goroutine each;
// View and the watch functions may be called from anywhere.
package fsm
