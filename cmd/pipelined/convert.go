package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/convert"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline/language"
)

// convertCommand is `pipelined convert`.
type convertCommand struct{ env *environment }

func (c convertCommand) command() *cli.Command {
	return &cli.Command{
		Name: "convert", Usage: "writes a pipeline out of a workflow of GitHub Actions or a DAG of Dagu", ArgsUsage: "FILE",
		Description: "Prints the pipeline, or writes it to the file of -o, which must not exist. What has no counterpart is a comment in it, with the line and the reason; standard error lists the same.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "the `FORMAT` of FILE: github or dagu (default: what its content looks like)", Local: true},
			&cli.StringFlag{Name: "o", Usage: "write the pipeline to `FILE`", Local: true},
		},
		Action: c.env.action(1, 1, c.run),
	}
}

func (c convertCommand) run(_ context.Context, cmd *cli.Command) error {
	name, to := cmd.Args().First(), cmd.String("o")
	if to != "" {
		if _, err := os.Lstat(to); err == nil {
			return usagef("convert: %s exists and is never overwritten: name another file with -o", to)
		}
	}

	text, err := c.env.readFile(name)
	if err != nil {
		return usagef("convert: %w", err)
	}
	format := convert.Format(cmd.String("from"))
	switch {
	case cmd.IsSet("from") && !slices.Contains(convert.Formats, format):
		return usagef("-from %s: expected github or dagu", format)
	case format == "":
		if format, err = convert.Detect(text); err != nil {
			return usagef("convert: %s: %w", name, err)
		} else if format == "" {
			return usagef("convert: %s is neither a workflow of GitHub Actions, which has jobs, nor a DAG of Dagu, which has steps: -from names the format", name)
		}
	}

	result, err := convert.Convert(format, name, text)
	if err != nil {
		return failf(exitUsage, "convert: %s: %w", name, err)
	}
	source, diags := language.Format(name, []byte(result.Source))
	if len(diags) > 0 {
		return fmt.Errorf("the pipeline that was made of %s is wrong: %w", name, diags)
	}
	if err := c.write(to, source); err != nil {
		return err
	}

	for _, n := range result.Notes {
		in := ""
		if n.In != "" {
			in = n.In + ": "
		}
		c.env.tell("not converted: %s:%d: %s%s: %s", name, n.Line, in, n.What, n.Why)
	}
	// What is wrong in the file may be wrong in the pipeline, too.
	_, diags = language.Parse(cmp.Or(to, "pipeline"), source)
	for _, d := range diags {
		c.env.tell("not valid: %s:%d: %s", d.File, d.Line, d.Summary)
	}
	where := ""
	if to != "" {
		where = "wrote " + terminal.Clean(to) + ": "
	}
	c.env.tell("%spipeline %s with %s; %d of %s converted, %s to look at", where, result.Name, numberOf(result.Modules, "module"),
		result.Converted, numberOf(result.Steps, "step"), numberOf(len(result.Notes), "note"))
	return nil
}

// write writes the pipeline to standard output or a new file.
func (c convertCommand) write(to string, source []byte) error {
	if to == "" {
		_, err := c.env.stdout.Write(source)
		return wrap("write output", err)
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usagef("convert: %s exists and is never overwritten: name another file with -o", to)
	}
	if err != nil {
		return failf(exitFailed, "convert: write the pipeline: %w: name another file with -o, or leave -o out to print it", fileError(err))
	}
	_, err = f.Write(source)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fileError(err), os.Remove(to))
	}
	return nil
}
