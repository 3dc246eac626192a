// Package workspace reads the directory that goes along with a run: which files
// belong to it, what they hold, and which of them need not be read again. It
// knows nothing of runs and nodes.
//
// Which files belong to a workspace is git's answer if they lie in a work tree,
// and that of .gitignore files otherwise; .pipelinedignore files have the last
// word. git is run once for each work tree, and never runs a program that the
// repository names.
//
// Snapshot and Refill read files in goroutines of their own, which have ended
// when they return.
package workspace
