// Package storage is the disk of a node: the layout and the lock of its data
// directory, content-addressed blobs, trees of files (taken from a workspace
// or from a module's outputs, and laid out again as a folder), and the journal
// of attempts.
//
// It knows nothing of clusters, processes or the network: whoever calls it
// fetches missing blobs and decides what is kept.
//
// Everything that comes from outside (trees, bundles, the folders that modules
// wrote into) is checked before it is used, and every path below such a folder
// is opened through os.Root, so that neither ".." nor a planted link leads out.
//
// All types are safe for concurrent use unless they say otherwise. Nothing here
// starts a goroutine that outlives the call, except Journal.Run, which its
// caller owns.
package storage
