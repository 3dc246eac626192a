package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

func (c planCommand) print(plan runPlan) {
	w := c.env.stdout
	byName := map[string]*plannedModule{}
	for i := range plan.Modules {
		byName[plan.Modules[i].Name] = &plan.Modules[i]
	}

	fmt.Fprintf(w, "pipeline %s: %s in %s\n", terminal.Clean(plan.Pipeline), numberOf(len(plan.Modules), "module"), numberOf(len(plan.Waves), "wave"))
	if plan.Description != "" {
		fmt.Fprintf(w, "%s\n", terminal.Clean(plan.Description))
	}
	if plan.Schedule != nil {
		fmt.Fprintln(w, scheduleLine(plan.Schedule))
	}
	for _, n := range plan.Notify {
		fmt.Fprintln(w, notifyLine(n))
	}
	for i, wave := range plan.Waves {
		fmt.Fprintf(w, "\nwave %d\n", i+1)
		for _, name := range wave {
			c.printModule(byName[name])
		}
	}

	header := "\nskipped\n"
	for i := range plan.Modules {
		if m := &plan.Modules[i]; m.Skipped != "" {
			fmt.Fprintf(w, "%s  %s: %s\n", header, terminal.Clean(m.Name), terminal.Clean(m.Skipped))
			header = ""
		}
	}

	if e := plan.Estimate; e != nil && e.Known {
		c.printEstimate(e)
	} else if len(plan.CriticalPath) > 0 {
		fmt.Fprintf(w, "\nlongest path: %s\n", terminal.Clean(strings.Join(plan.CriticalPath, " -> ")))
	}
}

// scheduleLine says when a schedule is due.
func scheduleLine(s *pipeline.Schedule) string {
	return terminal.Clean("schedule: " + strings.Join(s.Cron, "; ") + " in " + s.Timezone)
}

// notifyLine says what a notify block sends.
func notifyLine(n pipeline.NotifyTarget) string {
	return terminal.Clean(fmt.Sprintf("notify %s: %s to webhook %s", n.Name, strings.Join(n.On, ", "), n.Webhook))
}

func (c planCommand) printModule(m *plannedModule) {
	text := terminal.Clean(m.Name)
	if m.Command != "" {
		text += ": " + terminal.Clean(m.Command)
	}

	if m.Approval != "" {
		text += " asks: " + terminal.Clean(m.Approval)
	}

	if m.Child != nil {
		text += fmt.Sprintf(": pipeline %s in %s, a run of its own", terminal.Clean(m.Child.Pipeline), terminal.Clean(m.Child.File))
	}

	fmt.Fprintf(c.env.stdout, "  %s\n", text)
	if m.Child != nil {
		fmt.Fprintf(c.env.stdout, "      %s: %s\n", numberOf(len(m.Child.Modules), "module"), terminal.Clean(pipeline.SomeNames(m.Child.Modules)))
	}
	if m.Description != "" {
		fmt.Fprintf(c.env.stdout, "      %s\n", terminal.Clean(m.Description))
	}

	var unknown []string
	for name, after := range m.Unknown {
		unknown = append(unknown, name+" "+after)
	}

	slices.Sort(unknown)
	for _, u := range unknown {
		fmt.Fprintf(c.env.stdout, "      %s\n", terminal.Clean(u))
	}

	c.printExpected(m.Expected)
	c.printForecast(m.Cache)
	if len(m.DependsOn) > 0 {
		text := strings.Join(m.DependsOn, ", ")
		if m.RunIf == pipeline.RunIfNotFailed {
			text += " (run_if not_failed)"
		}
		fmt.Fprintf(c.env.stdout, "      after %s\n", terminal.Clean(text))
	}

	if m.Requires != "" {
		fmt.Fprintf(c.env.stdout, "      needs %s\n", terminal.Clean(m.Requires))
	}

	if m.MaxParallel > 0 {
		fmt.Fprintf(c.env.stdout, "      at most %s of %s at once\n", numberOf(m.MaxParallel, "instance"), terminal.Clean(m.Block))
	}

	if len(m.Locks) > 0 {
		keys := slices.Clone(m.Locks)
		for i, key := range keys {
			if n := m.LockHolders[key]; n > 1 {
				keys[i] = fmt.Sprintf("%s (up to %d holders)", key, n)
			}
		}
		fmt.Fprintf(c.env.stdout, "      holds %s\n", terminal.Clean(strings.Join(keys, ", ")))
	}
}
