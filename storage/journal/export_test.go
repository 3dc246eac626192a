package journal

import "github.com/pipelined/pipelined/pipeline"

// OpenUnsynced is Open on a disk whose syncs do nothing, for tests that open
// hundreds of files.
func OpenUnsynced(path string, report func(string)) (*Journal, error) {
	return open(path, report, createUnsynced)
}

type unsynced struct{ file }

func (unsynced) Sync() error { return nil }

func createUnsynced(path string) (file, error) {
	f, err := createFile(path)

	return unsynced{f}, err
}

// Replay returns what Open would read from a file, and how many bytes it would
// skip, without a disk.
func Replay(data []byte) ([]Entry, int) {
	j := &Journal{entries: map[pipeline.AttemptID]Entry{}}
	if blank(data) {
		return nil, 0
	}
	_, lost := scan(data, j.apply)

	return j.All(), lost
}
