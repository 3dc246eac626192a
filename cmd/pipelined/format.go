package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/submission"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline/language"
)

// formatCommand is `pipelined fmt`.
type formatCommand struct{ env *environment }

func (c formatCommand) command() *cli.Command {
	return &cli.Command{
		Name: "fmt", Usage: "formats pipeline files; needs no cluster", ArgsUsage: "[FILE|DIR]...",
		Description: "Without an argument it formats the current directory. Prints the names of the files that it changes. `-` formats standard input to standard output.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "check", Usage: "change nothing; exit with 1 if a file is not formatted", HideDefault: true, Local: true},
			&cli.BoolFlag{Name: "diff", Usage: "print what would change", HideDefault: true, Local: true},
			&cli.BoolFlag{Name: "recursive", Usage: "format subdirectories, too", HideDefault: true, Local: true},
		},
		Action: c.env.action(0, -1, c.run),
	}
}

func (c formatCommand) run(_ context.Context, cmd *cli.Command) error {
	args := cmd.Args().Slice()
	if len(args) == 0 {
		args = []string{"."}
	}

	check, diff := cmd.Bool("check"), cmd.Bool("diff")
	changed := 0
	for _, arg := range args {
		files, err := pipelineFiles(arg, cmd.Bool("recursive"))
		if err != nil {
			return usagef("fmt: %w", fileError(err))
		}

		for _, name := range files {
			old, err := c.env.readFile(name)
			if err != nil {
				return usagef("fmt: %w", err)
			}

			formatted, diags := language.Format(name, old)
			if len(diags) > 0 {
				return c.env.explain(submission.NewInvalidError(diags))
			}

			same := bytes.Equal(old, formatted)
			if !same {
				changed++
			}

			if err := c.write(name, old, formatted, check, diff); err != nil {
				return err
			}
		}
	}

	if check && changed > 0 {
		return exit(exitFailed)
	}

	return nil
}

// write writes or shows what became of one file.
func (c formatCommand) write(name string, old, text []byte, check, diff bool) error {
	if name == "-" && !check && !diff {
		_, err := c.env.stdout.Write(text)
		return err
	}

	if bytes.Equal(old, text) {
		return nil
	}

	if name == "-" {
		name = "stdin"
	}

	if diff {
		writeDiff(c.env.stdout, terminal.Clean(name), old, text)
	} else {
		fmt.Fprintln(c.env.stdout, terminal.Clean(name))
	}

	if check || diff || name == "stdin" {
		return nil
	}

	info, err := os.Stat(name)
	if err != nil {
		return fileError(err)
	}

	// Whole or not at all: a pipeline is never half written.
	return wrap("write "+name, renameio.WriteFile(name, text, info.Mode().Perm()))
}

// pipelineFiles lists what an argument means: itself, or the .hcl files of a
// directory.
func pipelineFiles(arg string, recursive bool) ([]string, error) {
	if arg == "-" {
		return []string{arg}, nil
	}

	info, err := os.Stat(arg)
	if err != nil || !info.IsDir() {
		return []string{arg}, err
	}

	var list []string
	err = filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != arg && (!recursive || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.Type().IsRegular() && strings.HasSuffix(path, ".hcl"):
			list = append(list, path)
		}
		return nil
	})
	return list, err
}

// maxDiff bounds the lines of a file of which a difference is worked out; the
// work grows with their square.
const maxDiff = 4000

// writeDiff prints the lines that differ, each with - or + before it and the
// number that it has in its version.
func writeDiff(w interface{ Write([]byte) (int, error) }, name string, a, b []byte) {
	fmt.Fprintf(w, "--- %s\n+++ %s (formatted)\n", name, name)
	old, now := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	if len(old) > maxDiff || len(now) > maxDiff {
		fmt.Fprintf(w, "%d lines became %d\n", len(old), len(now))
		return
	}

	// common[i][j] is the length of the longest common part of old[i:] and now[j:].
	common := make([][]int, len(old)+1)
	for i := range common {
		common[i] = make([]int, len(now)+1)
	}

	for i := len(old) - 1; i >= 0; i-- {
		for j := len(now) - 1; j >= 0; j-- {
			if old[i] == now[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}

	for i, j := 0, 0; i < len(old) || j < len(now); {
		switch {
		case i < len(old) && j < len(now) && old[i] == now[j]:
			i, j = i+1, j+1
		case j == len(now) || i < len(old) && common[i+1][j] >= common[i][j+1]:
			fmt.Fprintf(w, "-%d: %s\n", i+1, terminal.Clean(old[i]))
			i++
		default:
			fmt.Fprintf(w, "+%d: %s\n", j+1, terminal.Clean(now[j]))
			j++
		}
	}
}
