package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v3"
)

// version is set at link time: -ldflags "-X main.version=1.2.3". Without it the
// module's version as Go recorded it is used.
var version string

// buildInfo is what `version -json` prints.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

// readBuildInfo tells what this binary was built from.
func readBuildInfo() buildInfo {
	b := buildInfo{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}

	if b.Version == "" {
		b.Version = "dev"
	}

	return b
}

// String is the one line that `version` prints after the program's name.
func (b buildInfo) String() string {
	var notes []string
	if b.Commit != "" {
		commit := b.Commit[:min(12, len(b.Commit))]
		if b.Modified {
			commit += " and changes"
		}

		notes = append(notes, commit)
	}

	if b.Time != "" {
		notes = append(notes, b.Time)
	}

	notes = append(notes, b.Go, b.OS+"/"+b.Arch)
	return fmt.Sprintf("%s (%s)", b.Version, strings.Join(notes, ", "))
}

// versionCommand is `pipelined version`.
type versionCommand struct{ env *environment }

func (c versionCommand) command() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "prints the version",
		Flags: []cli.Flag{jsonFlag()},
		Action: c.env.action(0, 0, func(_ context.Context, cmd *cli.Command) error {
			b := readBuildInfo()
			if cmd.Bool("json") {
				return c.env.printJSON(b)
			}

			fmt.Fprintf(c.env.stdout, "pipelined %s\n", b)
			return nil
		}),
	}
}
