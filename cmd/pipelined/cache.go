package main

import (
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/pipeline"
)

// cacheFlags say what a run does with recorded results.
func cacheFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "no-cache", Usage: "take no recorded results and record none", HideDefault: true, Local: true},
		&cli.BoolFlag{Name: "refresh", Usage: "run everything, and record it anew", HideDefault: true, Local: true},
	}
}

// cacheMode is wire.SubmitRequest.Cache.
func cacheMode(cmd *cli.Command) (string, error) {
	off, refresh := cmd.Bool("no-cache"), cmd.Bool("refresh")
	switch {
	case off && refresh:
		return "", usagef("-no-cache and -refresh exclude each other: one records nothing, the other everything")
	case off:
		return pipeline.CacheOff, nil
	case refresh:
		return pipeline.CacheRefresh, nil
	}
	return "", nil
}
