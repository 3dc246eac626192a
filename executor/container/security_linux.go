package container

import "golang.org/x/sys/unix"

// securityOptions keep setuid programs from gaining privileges if this process has
// given them up, as the runner does for modules.
func securityOptions() []string {
	if on, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && on == 1 {
		return []string{"no-new-privileges"}
	}
	return nil
}
