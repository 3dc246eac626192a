package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// tempFolder makes a temporary folder whose name tells whose it is, after it has
// removed those that processes left behind which were killed.
func tempFolder(base, what string) (string, error) {
	if base == "" {
		base = os.TempDir()
	}
	prefix := "pipelined-" + what + "-"
	found, err := filepath.Glob(filepath.Join(base, prefix+"*"))
	if err != nil {
		return "", err
	}
	for _, dir := range found {
		pid, _, ok := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
		n, err := strconv.Atoi(pid)
		// A number that another process has by now keeps the folder: harmless.
		if ok && err == nil && n > 0 && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // another user's stays
		}
	}
	return os.MkdirTemp(base, fmt.Sprintf("%s%d-*", prefix, os.Getpid()))
}
