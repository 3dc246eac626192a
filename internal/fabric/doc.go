// Package fabric moves bytes between nodes and keeps enough copies of them.
//
// A blob is named by the digest of its bytes and may be on any node. Downloader
// makes blobs present here, Uploader sends them to a second node, Server answers
// the requests of other nodes. Replicator, on the leader, compares the copies that
// are wanted with those that the nodes report, and has the missing ones made;
// Suspects reports to it what a node finds wrong. Scrubber looks for damage, and
// Collector deletes what nothing needs. DiskWatch refuses work while the disk is
// nearly full.
//
// The package knows neither runs nor modules, except through the references that
// the replicated state lists. All types may be used concurrently.
package fabric
