//go:build !linux

package executor

// Folders makes and removes attempt folders.
type Folders struct{}

// NewFolders keeps none on this system.
func NewFolders(string, int) (*Folders, error) { return &Folders{}, nil }

// Prepare is the function Prepare.
func (*Folders) Prepare(dir string) error { return Prepare(dir) }

// Remove is the function Remove.
func (*Folders) Remove(dir string) error { return Remove(dir) }
