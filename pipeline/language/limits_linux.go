package language

import (
	"os"
	"strconv"
	"strings"
)

// addressSpace is the size of this process's mappings, in bytes; 0 if it is not
// known. Go maps far more than it uses, so a limit has to count from here.
func addressSpace() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _, _ := strings.Cut(string(b), " ")
	n, err := strconv.ParseUint(pages, 10, 64)
	if err != nil {
		return 0
	}
	return n * uint64(os.Getpagesize())
}
