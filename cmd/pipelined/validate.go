package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/report"
	"github.com/pipelined/pipelined/internal/submission"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// validateCommand is `pipelined validate`.
type validateCommand struct{ env *environment }

func (c validateCommand) command() *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "checks a pipeline; needs no cluster", ArgsUsage: "[FILE]",
		Description: "Reports all mistakes at once, with file and line. Expressions that need a variable without a value are not checked; with -strict a missing value is a mistake.",
		Flags: append(varFlags(),
			&cli.BoolFlag{Name: "strict", Usage: "require a value for every variable", HideDefault: true, Local: true},
			jsonFlag(),
			&cli.StringFlag{Name: "o", Usage: "output `FORMAT`: " + strings.Join(validateForms, ", "), Value: "text", Local: true},
		),
		Action: c.env.action(0, 1, func(ctx context.Context, cmd *cli.Command) error {
			form, err := c.form(cmd)
			if err != nil {
				return err
			}

			v, err := c.validate(ctx, cmd)
			if form != "text" {
				return c.printReport(form, v, err)
			}

			if err != nil {
				return c.env.explain(err)
			}

			for _, w := range v.Warnings {
				c.env.tell("warning: %s:%d:%d: %s: %s", w.File, w.Line, w.Column, w.Summary, w.Detail)
			}

			if len(v.Missing) > 0 {
				c.env.tell("no value for %s: expressions that need it were not checked (use -var or -strict)", strings.Join(v.Missing, ", "))
			}

			fmt.Fprintf(c.env.stdout, "%s: pipeline %s is valid (%s)\n", terminal.Clean(v.File), v.Pipeline, numberOf(len(v.Modules), "module"))
			if v.Schedule != nil {
				fmt.Fprintln(c.env.stdout, scheduleLine(v.Schedule))
			}
			for _, n := range v.Notify {
				fmt.Fprintln(c.env.stdout, notifyLine(n))
			}
			return nil
		}),
	}
}

// validateForms are the values of -o.
var validateForms = []string{"text", "json", "sarif"}

// form is how the report is printed; -json is short for -o json.
func (c validateCommand) form(cmd *cli.Command) (string, error) {
	form := cmd.String("o")
	switch {
	case !slices.Contains(validateForms, form):
		return "", usagef("-o %q: expected %s%s", form, strings.Join(validateForms, ", "), terminal.DidYouMean(form, validateForms))
	case cmd.Bool("json") && cmd.IsSet("o") && form != "json":
		return "", usagef("-json and -o %s exclude each other", form)
	case cmd.Bool("json"):
		return "json", nil
	}
	return form, nil
}

// validation is what `validate -json` prints.
type validation struct {
	Valid    bool     `json:"valid"`
	File     string   `json:"file"`
	Pipeline string   `json:"pipeline,omitempty"`
	Modules  []string `json:"modules"`
	// Schedule is when runs are made once the pipeline is registered, each H of cron
	// replaced.
	Schedule *pipeline.Schedule `json:"schedule,omitempty"`
	// Notify are the notify blocks with a webhook.
	Notify []pipeline.NotifyTarget `json:"notify,omitempty"`
	// Missing are variables without a value: what needs them was not checked.
	Missing     []string          `json:"missing"`
	Diagnostics []wire.Diagnostic `json:"diagnostics"`
	// Warnings are what is valid and likely a mistake.
	Warnings []wire.Diagnostic `json:"warnings"`
}

// validate checks all that can be checked.
func (c validateCommand) validate(ctx context.Context, cmd *cli.Command) (validation, error) {
	v := validation{Modules: []string{}, Missing: []string{}, Diagnostics: []wire.Diagnostic{}, Warnings: []wire.Diagnostic{}}
	o, err := c.env.submission(cmd)
	if err != nil {
		return v, err
	}
	v.File = o.File

	s, err := o.Read(ctx)
	if err != nil {
		return v, err
	}

	v.Pipeline, v.Modules = s.File.Name(), s.File.ModuleNames()
	v.Warnings = append(v.Warnings, submission.WireDiagnostics(s.File.Warnings())...)

	given := map[string]bool{}
	for _, in := range s.Inputs {
		given[in.Name] = true
	}

	declared := map[string]bool{}
	for _, x := range s.File.Variables() {
		declared[x.Name] = true
		if x.Required && !given[x.Name] {
			v.Missing = append(v.Missing, x.Name)
		}
	}

	facts, err := o.GitFacts(s)
	if err != nil {
		return v, err
	}

	if len(v.Missing) > 0 && !cmd.Bool("strict") {
		return v, unknownVariables(s.Inputs, declared)
	}

	def, err := s.Check(ctx, language.Inputs{Git: facts})
	if err != nil {
		return v, err
	}

	v.Schedule, v.Notify = def.Schedule, def.NotifyTargets()
	v.Missing = []string{}
	return v, nil
}

// unknownVariables refuses values for variables that the pipeline does not
// declare; those of the environment may be meant for another one.
func unknownVariables(inputs []language.VariableInput, declared map[string]bool) error {
	var names []string
	for name := range declared {
		names = append(names, name)
	}

	slices.Sort(names)
	var diags language.Diagnostics
	for _, in := range inputs {
		if !declared[in.Name] && !strings.HasPrefix(in.Origin, submission.VariablePrefix) {
			diags = append(diags, language.Diagnostic{File: in.Origin, Summary: fmt.Sprintf("the pipeline has no variable %q%s", in.Name, terminal.DidYouMean(in.Name, names))})
		}
	}

	if len(diags) == 0 {
		return nil
	}

	return submission.NewInvalidError(diags)
}

// printReport prints the report, mistakes included.
func (c validateCommand) printReport(form string, v validation, err error) error {
	var bad *wire.SourceError
	switch {
	case err == nil:
		v.Valid = true
		return c.printForm(form, v)
	case errors.As(err, &bad):
		v.Diagnostics = bad.Diagnostics
		if err := c.printForm(form, v); err != nil {
			return err
		}

		return exit(exitUsage)
	}

	return err
}

func (c validateCommand) printForm(form string, v validation) error {
	if form == "sarif" {
		return wrap("write output", report.WriteSARIF(c.env.stdout, readBuildInfo().Version, v.Diagnostics, v.Warnings))
	}
	return c.env.printJSON(v)
}
