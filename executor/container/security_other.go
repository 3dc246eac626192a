//go:build !linux

package container

// securityOptions are none: modules run on Linux only.
func securityOptions() []string { return nil }
