//go:build !linux

package node

// daemonNice is not used: agents run on Linux.
const daemonNice = 0

// SetPriority does nothing on this system.
func SetPriority(int) bool { return false }

func unpreferred(int) {}
