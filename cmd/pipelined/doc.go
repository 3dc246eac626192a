// Command pipelined is the whole system in one binary: the agent that makes a
// machine part of a cluster, and the command line that talks to one.
//
// It holds flags, files, signals and exit codes, one file a command. What a
// command does goes through api/client, also where the cluster is embedded in
// this process (run); internal/node is the only room that it starts. It knows
// nothing of raft, gossip or the replicated state.
//
// Data goes to stdout, progress and errors to stderr. Every command is a method
// of program, which holds the streams, the environment and the signals, so that
// tests run commands inside their own process.
package main
