// Package faults breaks the machines below real agents, one fault a file, and
// checks what docs/failure-modes.md promises. What needs root skips without it.
package faults
