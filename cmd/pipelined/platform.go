package main

import (
	"fmt"
	"runtime"
)

// linuxOnly are the commands that need Linux, with what works elsewhere instead.
var linuxOnly = map[string]string{
	"run":              "submit the pipeline to a cluster: pipelined submit -address HOST:8080 FILE; validate, plan, graph and fmt work here",
	"agent":            "start it on a Linux machine, a virtual one or a container is enough, and use it from here: pipelined status -address HOST:8080",
	"-address run":     "what pipelined run stores is on the Linux machine that ran it; -address HOST:8080 asks a cluster",
	"operator recover": "run it on the node that is left",
}

// platform refuses what needs Linux elsewhere; what is a key of linuxOnly.
func platform(what string) error { return platformOf(runtime.GOOS, what) }

func platformOf(goos, what string) error {
	if goos == "linux" {
		return nil
	}

	return failf(exitFailed, "%s needs Linux, and this is %s: %s", what, systemName(goos), linuxOnly[what])
}

// systemName is what people call a system.
func systemName(goos string) string {
	if goos == "darwin" {
		return "macOS"
	}

	return goos
}

// platformNote is what the help says of a system where only a part works; "" for Linux.
func platformNote(goos string) string {
	if goos == "linux" {
		return ""
	}

	return fmt.Sprintf("On %s this is the command line alone: run, agent and operator recover need Linux.\nEvery other command reaches a cluster with -address HOST:8080.\n", systemName(goos))
}
