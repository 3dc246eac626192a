// Package recording makes the picture at the top of README.md: a real run on three real
// nodes, the leader of which is killed, as the terminal shows it. `make recording` writes
// it; without PIPELINED_RECORDING its scene is not played.
package recording
