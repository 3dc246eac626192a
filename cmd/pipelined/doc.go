// Command pipelined is the whole system in one binary: the agent that makes a
// machine part of a cluster, and the command line that talks to one.
//
// It holds flags, files, signals and exit codes: one file and one small type per
// command, each with nothing but the environment, so that tests run commands in
// their own process. What a command does goes through api/client, also if the
// cluster is embedded in this process (run); what a person sees is drawn by
// internal/terminal; internal/node is the only part of a node that is started
// here. It knows nothing of raft, gossip or the replicated state.
//
// Data goes to stdout, progress and errors to stderr.
package main
