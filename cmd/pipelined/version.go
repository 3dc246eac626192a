package main

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// These are set at link time by a release: -ldflags "-X main.version=1.2.3". What is not
// set is what Go recorded, as far as it did: `go install PATH@VERSION` records the version
// alone, a build in a working tree of git the commit as well.
var version, commit, commitTime string

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
	b := buildInfo{Version: version, Commit: commit, Time: commitTime, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.complete(info)
	}

	if b.Version == "" {
		b.Version = "dev"
	}

	return b
}

// complete adds what Go recorded to what was set at link time.
func (b *buildInfo) complete(info *debug.BuildInfo) {
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = strings.TrimPrefix(info.Main.Version, "v")
	}

	b.Modified = strings.HasSuffix(b.Version, dirty)
	if b.Commit != "" {
		return // of a release: that of the working tree is the same, or of another one
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

	// A version that Go made of a commit without a tag.
	if m := pseudoVersion.FindStringSubmatch(b.Version); b.Commit == "" && m != nil {
		b.Commit = m[2]
		if at, err := time.Parse("20060102150405", m[1]); err == nil {
			b.Time = at.Format(time.RFC3339)
		}
	}
}

// dirty ends the version of a build with changes that are in no commit.
const dirty = "+dirty"

// pseudoVersion matches a version with the time and the hash of a commit.
var pseudoVersion = regexp.MustCompile(`[-.]([0-9]{14})-([0-9a-f]{12})(?:\+dirty)?$`)

// release is the version as other nodes, the API and the log get it: one that does not
// name the commit has it behind a plus sign, so that two builds of one version differ.
func (b buildInfo) release() string {
	short := b.Commit[:min(commitDigits, len(b.Commit))]
	if short == "" || strings.Contains(b.Version, short) {
		return b.Version
	}

	separator := "+"
	if strings.Contains(b.Version, "+") {
		separator = "."
	}

	return b.Version + separator + short
}

// commitDigits is how much of a commit's hash is shown.
const commitDigits = 12

// String is the one line that `version` prints after the program's name.
func (b buildInfo) String() string {
	var notes []string
	if b.Commit != "" {
		commit := b.Commit[:min(commitDigits, len(b.Commit))]
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
