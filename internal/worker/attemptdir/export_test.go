package attemptdir

import "testing"

// SetMemoryDir lets a directory stand for tmpfs until the test ends.
func SetMemoryDir(t *testing.T, dir string) {
	was := memoryDir
	memoryDir = dir
	t.Cleanup(func() { memoryDir = was })
}
