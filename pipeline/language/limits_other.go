//go:build unix && !linux

package language

// addressSpace is not known here; watchMemory alone bounds the memory.
func addressSpace() uint64 { return 0 }
