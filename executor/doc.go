// Package executor runs attempts on this machine: it starts a module's process
// in a directory that its caller prepared, takes its output to disk from the first
// byte, stops it (TERM, grace, KILL of the whole tree), and reports how it ended.
//
// Two runners share one engine. Local keeps the processes as children of the
// calling process and ends with it; `pipelined run` uses it. Client speaks to a
// keeper, one small process a data directory, which outlives the daemon: a
// daemon that starts again finds its keeper, and through it every attempt,
// running or ended. KeeperMain is the body of that process.
//
// An attempt has ended only when its whole tree is dead. The members of a tree are
// found by a cgroup (version 2, else a named hierarchy of version 1 that root can
// mount), else by session, ancestry and an environment cookie, swept until two
// passes find nothing. What evades the latter, a process of the same user that leaves its session, clears its
// environment and lets its parents die between two looks while other attempts
// run, is killed when the last attempt of the runner has ended.
//
// Hooks run around the process, values can be hidden in all that it says, and
// idle time, time, memory and processors can be bounded; see Process.
//
// The package knows nothing of runs, of the cluster, or of where files come
// from: its caller has prepared the directory, the environment and the script of
// a Process. Everything exported may be used from many goroutines.
//
// A runner changes its process: files above standard error become close-on-exec,
// core dumps are turned off, the umask becomes 022, and threads that start
// modules give up gaining privileges (no_new_privs) unless Config allows them.
//
// A keeper lives in the control group of the daemon that started it. Under
// systemd the unit therefore needs KillMode=process (else a restart kills the
// keeper and its modules) and, if the daemon is not root, Delegate=yes.
package executor
