// Package inputs answers what the result cache asks about files: the digest of a
// module's input files, what changed between two workspaces, and which cached
// results still have all their bytes. The orchestrator asks; it knows no files
// itself.
package inputs
