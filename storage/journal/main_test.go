package journal_test

import (
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/storage/journal"
)

// TestMain lets the test binary be the process that TestJournal_killed kills.
func TestMain(m *testing.M) {
	if path := os.Getenv("JOURNAL_TEST_PATH"); path != "" {
		helper(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// helper records a hundred attempts, prints a line, and waits to be killed.
func helper(path string) {
	j, err := journal.Open(path, func(text string) { fmt.Println("report:", text) })
	for i := 0; i < 100 && err == nil; i++ {
		err = j.Put(entry(i))
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}

	fmt.Println("recorded")
	io.Copy(io.Discard, os.Stdin)
}
