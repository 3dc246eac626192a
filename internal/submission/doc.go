// Package submission turns a pipeline's file into what a cluster needs to run it:
// the source with its variables and environment, the facts that git knows, and a
// snapshot of the workspace, of which only the blobs that a node is missing are
// sent.
//
// Options says what a submission is made of; Check reads and checks it, Prepare
// also takes the snapshot, Job.Submit sends both to one node. A pipeline with
// mistakes is an *InvalidError. It knows neither flags nor exit codes. One
// goroutine uses a Job.
package submission
