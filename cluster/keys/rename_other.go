//go:build !linux

package keys

import "golang.org/x/sys/unix"

// renameNew renames a file unless the new name exists. There is no portable
// call for it.
func renameNew(string, string) error { return unix.ENOTSUP }
