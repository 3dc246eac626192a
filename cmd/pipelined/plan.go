package main

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/submission"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

func (c planCommand) command() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "shows what a pipeline would do; needs no cluster", ArgsUsage: "[FILE]",
		Description: "Prints the waves of modules that can run at the same time, skipped modules with the reason, values that are known only later, and the longest path. If a cluster is reachable, also workers, expected durations and cache hits.",
		Flags:       append(append(append(varFlags(), selectFlags()...), append(cacheFlags(), c.env.snapshotFlags()...)...), jsonFlag()),
		Action: c.env.action(0, 1, func(ctx context.Context, cmd *cli.Command) error {
			job, err := c.env.checked(ctx, cmd)
			if err != nil {
				return c.env.explain(err)
			}

			defer job.Close()
			plan := planOf(job.Definition())
			plan.Warnings = c.warnings(ctx, job)
			c.forecast(ctx, job, &plan)
			if cmd.Bool("json") {
				return c.env.printJSON(plan)
			}

			for _, w := range plan.Warnings {
				c.env.tell("warning: %s:%d: %s: %s", w.File, w.Line, w.Summary, w.Detail)
			}

			c.print(plan)
			return nil
		}),
	}
}

// checked reads a pipeline and compiles it as a submission would.
func (env *environment) checked(ctx context.Context, cmd *cli.Command) (*submission.Job, error) {
	o, err := env.submission(cmd)
	if err != nil {
		return nil, err
	}

	return o.Check(ctx)
}

// warnings are what a submission warns of. The files of the workspace tell nothing if it is
// likely to be there by mistake, or cannot be listed, which a submission reports.
func (c planCommand) warnings(ctx context.Context, job *submission.Job) []wire.Diagnostic {
	list := append([]wire.Diagnostic{}, submission.WireDiagnostics(job.LostZeros())...)
	if job.BroadRoot() == "" {
		if found, err := job.UnmatchedInputs(ctx); err == nil {
			list = append(list, submission.WireDiagnostics(found)...)
		}
	}
	return list
}

// runPlan is what `plan -json` prints.
type runPlan struct {
	Pipeline    string     `json:"pipeline"`
	Description string     `json:"description,omitempty"`
	Waves       [][]string `json:"waves"`
	// Schedule is when runs are made once the pipeline is registered, each H of cron
	// replaced.
	Schedule *pipeline.Schedule `json:"schedule,omitempty"`
	// Notify are the notify blocks with a webhook; those with a command are modules.
	Notify []pipeline.NotifyTarget `json:"notify,omitempty"`
	// Warnings are what is valid and likely a mistake.
	Warnings []wire.Diagnostic `json:"warnings"`
	// CriticalPath is the longest chain of modules: by the time that they are
	// expected to take, or by their number where that is not known.
	CriticalPath []string        `json:"criticalPath"`
	Modules      []plannedModule `json:"modules"`
	// Estimate is how long the run would take on the workers there are, where
	// that is known.
	Estimate *wire.Estimate `json:"estimate,omitempty"`
}

// plannedModule is one module of a plan.
type plannedModule struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Wave counts from 1; 0 where the module does not run.
	Wave      int      `json:"wave"`
	DependsOn []string `json:"dependsOn"`
	// Skipped says why it does not run.
	Skipped string `json:"skipped,omitempty"`
	// state is that of a module of a run.
	state   string
	Command string `json:"command,omitempty"`
	// Approval is what an approval asks, if that is known.
	Approval string `json:"approval,omitempty"`
	// Child is the pipeline that it runs.
	Child *plannedChild `json:"child,omitempty"`
	// Unknown names what is known only when results are, or not shown since it is
	// sensitive: attribute, and the modules that it waits for.
	Unknown  map[string]string `json:"unknown,omitempty"`
	Requires string            `json:"requires,omitempty"`
	Locks    []string          `json:"notInParallel,omitempty"`
	// LockHolders has the keys of Locks that may have several holders, with how many.
	LockHolders map[string]int `json:"lockHolders,omitempty"`
	// MaxParallel bounds the instances of Block that run at once; 0 is no limit.
	MaxParallel int    `json:"maxParallel,omitempty"`
	Block       string `json:"block,omitempty"`
	Always      bool   `json:"alwaysRun,omitempty"`
	RunIf       string `json:"runIf,omitempty"`
	// Cache is what cached results have to do with it, if that is known.
	Cache *wire.ModuleForecast `json:"cache,omitempty"`
	// Expected is how long it takes and where it would run, if that is known.
	Expected *wire.ModuleEstimate `json:"expected,omitempty"`
}

// plannedChild is the pipeline that a module runs as a run of its own.
type plannedChild struct {
	Pipeline string   `json:"pipeline"`
	File     string   `json:"file"`
	Modules  []string `json:"modules"`
}

// planOf works out the waves of a pipeline.
func planOf(def *pipeline.Pipeline) runPlan {
	p := &planner{
		def: def, index: make(map[string]int, len(def.Modules)),
		planned: make([]plannedModule, len(def.Modules)), before: make([]int, len(def.Modules)),
	}
	for i := range def.Modules {
		p.index[def.Modules[i].Name] = i
	}

	plan := runPlan{Pipeline: def.Name, Description: def.Description, Schedule: def.Schedule, Notify: def.NotifyTargets(), Warnings: []wire.Diagnostic{}, Waves: [][]string{}, CriticalPath: []string{}, Modules: p.planned}
	last := -1 // a module of the last wave

	for i := range def.Modules {
		x := p.visit(i)
		for x.Wave > len(plan.Waves) {
			plan.Waves = append(plan.Waves, []string{})
		}

		if x.Wave == 0 {
			continue
		}

		plan.Waves[x.Wave-1] = append(plan.Waves[x.Wave-1], x.Name)
		if last < 0 || x.Wave > p.planned[last].Wave {
			last = i
		}
	}

	for i := last; i >= 0; i = p.before[i] {
		plan.CriticalPath = append(plan.CriticalPath, p.planned[i].Name)
	}
	slices.Reverse(plan.CriticalPath)

	return plan
}

// planner plans modules, dependencies first.
type planner struct {
	def     *pipeline.Pipeline
	index   map[string]int
	planned []plannedModule // a module without a name is not planned yet
	// before is the dependency of each module on its longest path, -1 for none.
	before []int
}

// visit plans a module and what it depends on. The pipeline has no cycle: it was
// compiled.
func (p *planner) visit(i int) *plannedModule {
	m, x := &p.def.Modules[i], &p.planned[i]
	if x.Name != "" {
		return x
	}

	*x = plannedModule{
		Name: m.Name, Description: m.Description, DependsOn: m.DependsOn, Skipped: m.Skip, Command: commandText(m), Requires: requirements(m),
		Locks: m.Locks, LockHolders: m.LockHolders, Always: m.AlwaysRun, RunIf: m.RunIf, Unknown: unknownValues(m),
	}
	if m.MaxParallel > 0 {
		x.MaxParallel, x.Block = m.MaxParallel, m.Block()
	}
	if m.Approval != nil {
		x.Approval = m.Approval.Message
	}
	if c := m.Child; c != nil {
		x.Child = &plannedChild{Pipeline: c.Name, File: c.File, Modules: c.Modules}
	}

	p.before[i] = -1
	wave := 1
	for _, d := range m.DependsOn {
		j, ok := p.index[d]
		if !ok {
			continue
		}

		up := p.visit(j)
		if up.Skipped != "" && m.SkippedWithDependency() && x.Skipped == "" {
			x.Skipped = "dependency " + d + " is skipped"
		}

		if up.Wave+1 > wave {
			wave, p.before[i] = up.Wave+1, j
		}
	}

	if x.Skipped == "" {
		x.Wave = wave
	}

	if x.DependsOn == nil {
		x.DependsOn = []string{}
	}

	return x
}

// unknownValues says of each deferred expression of a module when it is known.
func unknownValues(m *pipeline.Module) map[string]string {
	var unknown map[string]string

	for name, deferred := range m.Deferred {
		if unknown == nil {
			unknown = map[string]string{}
		}

		unknown[name] = "(known after " + knownAfter(m, deferred.Source) + ")"
		if deferred.Source == pipeline.NoInstances && m.Dynamic {
			unknown[name] = "(no instances)"
		}

		if deferred.Sensitive && len(language.ModulesIn(deferred.Source)) == 0 {
			unknown[name] = "(sensitive)"
		}
	}

	return unknown
}

func commandText(m *pipeline.Module) string {
	switch {
	case len(m.Command) > 0:
		return strings.Join(m.Command, " ")
	case m.Script != "":
		line, rest, _ := strings.Cut(strings.TrimSpace(m.Script), "\n")
		if rest != "" {
			line += " …"
		}

		return line
	}
	return ""
}

func requirements(m *pipeline.Module) string {
	r := m.Requires
	var parts []string
	if r.OS != "" {
		parts = append(parts, r.OS)
	}

	if r.Arch != "" {
		parts = append(parts, r.Arch)
	}

	for _, t := range r.Tools {
		parts = append(parts, "tool "+t)
	}

	for _, t := range r.Tags {
		parts = append(parts, "tag "+t)
	}

	if r.Engine {
		part := "a container engine"
		if m.Container.Image != "" { // else it is known with the instances
			part += " for " + strings.Join(slices.Compact(m.Container.Images()), ", ")
		}
		parts = append(parts, part)
	}

	return strings.Join(parts, ", ")
}

// knownAfter names what an expression of a module waits for.
func knownAfter(m *pipeline.Module, source string) string {
	names := language.ModulesIn(source)
	if len(names) == 0 && m.Dynamic {
		return "for_each"
	}

	if len(names) == 0 {
		for _, d := range m.DependsOn {
			names = append(names, strings.SplitN(d, "[", 2)[0])
		}
		names = slices.Compact(names)
	}

	if len(names) == 0 {
		return "the run has begun"
	}

	for i := range names {
		names[i] = "module." + names[i]
	}

	return strings.Join(names, ", ")
}
