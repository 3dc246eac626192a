package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/scaffold"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// defaultFile is the pipeline of a directory: commands take it if no FILE is given.
const defaultFile = "pipeline.hcl"

// initCommand is `pipelined init`.
type initCommand struct{ env *environment }

func (c initCommand) command() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "writes a " + defaultFile + " for the project in a directory", ArgsUsage: "[DIR]",
		Description: "Looks for go.mod, package.json, pyproject.toml, Cargo.toml, Makefile and Dockerfile in DIR (default .) and below it, and writes modules that vet, test and build, with caches. A file that is there is never overwritten.",
		Action:      c.env.action(0, 1, c.run),
	}
}

func (c initCommand) run(_ context.Context, cmd *cli.Command) error {
	dir := "."
	if cmd.Args().Present() {
		dir = cmd.Args().First()
	}

	if info, err := os.Stat(dir); err != nil {
		return usagef("init: %w", fileError(err))
	} else if !info.IsDir() {
		return usagef("init: %s is no directory: init takes the directory of a project", dir)
	}

	name := filepath.Join(dir, defaultFile)
	if _, err := os.Lstat(name); err == nil {
		return c.there(name)
	}

	project, err := scaffold.Look(dir)
	if err != nil {
		return failf(exitFailed, "init: read the directory: %w", fileError(err))
	}

	text, diags := language.Format(name, []byte(project.Pipeline()))
	if len(diags) > 0 {
		return fmt.Errorf("the pipeline that was made for %s is wrong: %w", dir, diags)
	}

	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return c.there(name)
	}
	if errors.Is(err, fs.ErrPermission) {
		return failf(exitFailed, "init: write the pipeline: %w: run it as a user who may write to that directory", fileError(err))
	}
	if err != nil {
		return failf(exitFailed, "init: write the pipeline: %w", fileError(err))
	}

	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fileError(err), os.Remove(name))
	}

	c.report(name, project)
	return nil
}

func (c initCommand) there(name string) error {
	return failf(exitFailed, "init: %s exists and is never overwritten: pipelined plan shows what it does", name)
}

// report says what was found, what was written, and what comes next.
func (c initCommand) report(name string, p *scaffold.Project) {
	w := c.env.stdout
	fmt.Fprintln(w, "found")
	for _, line := range p.Found {
		fmt.Fprintf(w, "  %s\n", terminal.Clean(line))
	}

	names := p.ModuleNames()
	fmt.Fprintf(w, "\nwrote %s: pipeline %s with %s (%s)\n", terminal.Clean(name), p.Name, numberOf(len(names), "module"), strings.Join(names, ", "))
	for _, line := range p.Notes {
		fmt.Fprintf(w, "  %s\n", terminal.Clean(line))
	}

	in := ""
	if dir := filepath.Dir(name); dir != "." {
		in = "cd " + terminal.Quote(dir) + " && "
	}
	fmt.Fprintf(w, "\nnext\n  %spipelined plan    shows what would run\n  %spipelined run     runs it here\n  %spipelined submit  runs it on a cluster (pipelined agent starts one)\n", in, in, in)
}

// file is the pipeline that a command was given, or that of the current directory.
func (env *environment) file(cmd *cli.Command) (string, error) { return env.fileAt(cmd, 0) }

// fileAt is the pipeline that an argument of the command names, by its position.
func (env *environment) fileAt(cmd *cli.Command, position int) (string, error) {
	if name := cmd.Args().Get(position); name != "" {
		return name, notPipeline(name)
	}

	if _, err := os.Stat(defaultFile); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fileError(err)
		}
		if to, err := os.Readlink(defaultFile); err == nil {
			return "", usagef("%s: %s is a link to %s, which does not exist", commandPath(cmd), defaultFile, to)
		}
		return env.onlyPipeline(cmd)
	}

	return defaultFile, nil
}

// onlyPipeline is the pipeline of the current directory if it has exactly one.
func (env *environment) onlyPipeline(cmd *cli.Command) (string, error) {
	found, _ := filepath.Glob("*.hcl") // the pattern is valid
	if len(found) == 0 {
		return "", usagef("%s: no FILE is given, and this directory has no %s%s", commandPath(cmd), defaultFile, pipelinesOf(".", ""))
	}

	files := len(found)
	pipelines := slices.DeleteFunc(found, func(name string) bool {
		text, err := env.readFile(name)
		return err != nil || !language.HasPipeline(text)
	})
	switch len(pipelines) {
	case 0:
		return "", usagef("%s: no FILE is given, and no pipeline is in the %s of this directory: pipelined init writes one",
			commandPath(cmd), numberOf(files, ".hcl file"))
	case 1:
		return pipelines[0], nil
	}
	return "", usagef("%s: no FILE is given, and this directory has %d pipelines and no %s: name one of %s",
		commandPath(cmd), len(pipelines), defaultFile, strings.Join(pipelines, ", "))
}

// notPipeline says why a FILE cannot be a pipeline, before it is read, and which one may
// be meant; nil if it may be one.
func notPipeline(name string) error {
	if name == "-" {
		return nil
	}
	if foreignFile(name) {
		advice := "pipelined init writes one for this directory"
		if ext := filepath.Ext(name); ext == ".yml" || ext == ".yaml" {
			advice += ", pipelined convert makes one of a workflow of GitHub Actions or a DAG of Dagu"
		}
		return usagef("%s is a file of another tool: a pipeline is written in HCL; %s", name, advice)
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usagef("read pipeline: %s does not exist%s", name, pipelinesOf(filepath.Dir(name), filepath.Base(name)))
	case err != nil:
		return nil // who reads it says so
	case info.IsDir():
		return usagef("read pipeline: %s is a directory, and a FILE is expected%s", name, pipelinesOf(name, ""))
	}
	return nil
}

// maxNamed bounds how many files a message names.
const maxNamed = 5

// pipelinesOf says which pipelines a directory has, for one that is not there; "" as its
// name means any.
func pipelinesOf(dir, wanted string) string {
	found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "*.hcl")) // the pattern is valid
	if len(found) == 0 {
		if dir == "." {
			return ": pipelined init writes one"
		}
		if _, err := os.Stat(dir); err != nil {
			return ", nor does its directory"
		}
		return fmt.Sprintf(": pipelined init %s writes one", terminal.Quote(dir))
	}

	names := make([]string, len(found))
	for i, path := range found {
		names[i] = filepath.Base(path)
	}
	if near := pipeline.Nearest(wanted, names); wanted != "" && near != "" {
		return fmt.Sprintf(": did you mean %q?", filepath.Join(dir, near))
	}
	more := ""
	if len(found) > maxNamed {
		found, more = found[:maxNamed], ", …"
	}
	return "; there is " + strings.Join(found, ", ") + more
}

// escapeGlob is a path as a pattern that it alone matches.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// foreignFile reports a file that says to another tool what is to run.
func foreignFile(name string) bool {
	return slices.Contains([]string{".yml", ".yaml", ".json", ".toml"}, filepath.Ext(name)) ||
		slices.Contains([]string{"Makefile", "makefile", "Jenkinsfile", "Dockerfile", "package.json", "Taskfile"}, filepath.Base(name))
}
