package storage_test

import (
	"fmt"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

func attempt(i int) pipeline.AttemptID {
	return pipeline.AttemptID{Run: "run-1", Module: fmt.Sprintf("build[linux,%d]", i), Attempt: i%3 + 1}
}

func entry(i int) storage.JournalEntry {
	return storage.JournalEntry{ID: attempt(i), Fence: uint64(1000 + i), Incarnation: "inc", Dir: fmt.Sprintf("/work/%d", i),
		Spec: fmt.Appendf(nil, `{"n":%d}`, i)}
}
