// Command bench measures the product against its floors and its peers, on this
// machine, in one go, and prints a table in Markdown. `make bench` runs it;
// docs/performance.md explains the lines and holds a table.
//
// Absolute figures change with the machine and the minute. What counts are
// ratios: every figure of the product is taken in turn with its floor, some
// rounds long, and the table holds the median of the rounds' ratios. The
// floors are small programs of this package that do only what cannot be left
// out (a fork and an exec, a raft entry on three disks, one HTTP request). The
// product is the real binary, with everything on.
//
// All files and processes are temporary; nothing of the user's is touched.
package main
