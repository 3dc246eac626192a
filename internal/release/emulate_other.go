//go:build !linux

package main

import (
	"context"
	"errors"
	"os/exec"
)

// emulated makes a command that can run programs of another processor.
func emulated(context.Context, string, []string) (*exec.Cmd, error) {
	return nil, errors.New("to run programs for another processor needs Linux")
}
