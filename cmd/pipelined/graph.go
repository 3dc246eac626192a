package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// graphForms are what `graph -o` takes.
var graphForms = []string{"text", "dot", "mermaid", "svg"}

// graphCommand is `pipelined graph`.
type graphCommand struct{ env *environment }

func (c graphCommand) command() *cli.Command {
	return &cli.Command{
		Name: "graph", Usage: "draws the modules of a pipeline or a run, and what they depend on", ArgsUsage: "[FILE|RUN]",
		Description: "A FILE needs no cluster. An argument that is no file, and does not end in .hcl, names a RUN: its modules are shown with their states.",
		Flags: append(append(varFlags(), selectFlags()...),
			&cli.StringFlag{Name: "o", Usage: "output `FORMAT`: " + strings.Join(graphForms, ", "), Value: "text", Local: true}),
		Action: c.env.action(0, 1, func(ctx context.Context, cmd *cli.Command) error {
			form := cmd.String("o")
			if !slices.Contains(graphForms, form) {
				return usagef("-o %q: expected one of %s%s", form, strings.Join(graphForms, ", "), terminal.DidYouMean(form, graphForms))
			}

			plan, err := c.plan(ctx, cmd)
			if err != nil {
				return c.env.explain(err)
			}

			if form != "text" {
				plan.Modules = direct(plan.Modules)
			}

			switch form {
			case "dot":
				writeDot(c.env.stdout, plan)
			case "mermaid":
				writeMermaid(c.env.stdout, plan)
			case "svg":
				writeSVG(c.env.stdout, plan)
			default:
				writeGraph(c.env.stdout, plan)
			}

			return nil
		}),
	}
}

// plan is what is drawn: that of a file, or the modules of a run.
func (c graphCommand) plan(ctx context.Context, cmd *cli.Command) (runPlan, error) {
	name := cmd.Args().First()
	_, err := os.Stat(name)
	if name == "" || name == "-" || err == nil || filepath.Ext(name) == ".hcl" {
		job, err := c.env.checked(ctx, cmd)
		if err != nil {
			return runPlan{}, err
		}
		defer job.Close()
		return planOf(job.Definition()), nil
	}

	ref, err := pipeline.ParseRunRef(name)
	if err != nil {
		return runPlan{}, usagef("graph: %q is neither a file nor a run", name)
	}
	api, id, err := c.env.connectRun(ctx, ref)
	if err != nil {
		return runPlan{}, err
	}
	g, err := api.Runs().Graph(ctx, id, "none")
	if err != nil {
		return runPlan{}, err
	}
	run, err := api.Runs().Get(ctx, id)
	return planOfRun(&g, &run), err
}

// planOfRun are the modules of a run, with their states.
func planOfRun(g *wire.Graph, run *wire.Run) runPlan {
	states := map[string]*wire.Module{}
	for i := range run.Modules {
		states[run.Modules[i].Name] = &run.Modules[i]
	}

	plan := runPlan{Pipeline: g.Pipeline}
	var wave func(i int) int
	waves := make([]int, len(g.Modules))
	wave = func(i int) int {
		if waves[i] == 0 {
			waves[i] = 1
			for _, d := range needs(g, i) {
				waves[i] = max(waves[i], wave(d)+1)
			}
		}
		return waves[i]
	}
	for i := range g.Modules {
		m := plannedModule{Name: g.Modules[i].Name, Wave: wave(i)}
		for _, d := range needs(g, i) {
			m.DependsOn = append(m.DependsOn, g.Modules[d].Name)
		}
		if s := states[m.Name]; s != nil {
			m.state = string(s.State)
		}
		for len(plan.Waves) < m.Wave {
			plan.Waves = append(plan.Waves, nil)
		}
		plan.Waves[m.Wave-1] = append(plan.Waves[m.Wave-1], m.Name)
		plan.Modules = append(plan.Modules, m)
	}
	return plan
}

// needs are the positions of the modules that one waits for.
func needs(g *wire.Graph, i int) []int {
	if n := g.Modules[i].Needs; n >= 0 {
		return g.Sets[n]
	}
	return nil
}

// writeGraph prints each module with what it depends on, first things first.
func writeGraph(w io.Writer, plan runPlan) {
	modules := slices.Clone(plan.Modules)
	slices.SortStableFunc(modules, func(a, b plannedModule) int { return depth(a) - depth(b) })
	for _, m := range modules {
		text := terminal.Clean(m.Name)
		if len(m.DependsOn) > 0 {
			text += " <- " + terminal.Clean(strings.Join(m.DependsOn, ", "))
		}

		if m.Child != nil {
			text += fmt.Sprintf(" (pipeline %s: %s)", terminal.Clean(m.Child.Pipeline), terminal.Clean(pipeline.SomeNames(m.Child.Modules)))
		}

		switch {
		case m.Skipped != "":
			text += " (skipped: " + terminal.Clean(m.Skipped) + ")"
		case m.state != "":
			text += " (" + m.state + ")"
		}

		fmt.Fprintln(w, text)
	}
}

// label is what a picture shows of a module.
func (m *plannedModule) label() string {
	if m.Child != nil {
		return m.Name + " (" + m.Child.Pipeline + ")"
	}
	return m.Name
}

// depth orders modules by their wave, those that do not run last.
func depth(m plannedModule) int {
	if m.Wave == 0 {
		return 1 << 30
	}
	return m.Wave
}

// direct gives the modules without the dependencies that follow from their
// others: a picture shows the same order with fewer lines.
func direct(modules []plannedModule) []plannedModule {
	index := make(map[string]int, len(modules))
	for i := range modules {
		index[modules[i].Name] = i
	}

	// behind[i] has a bit for each module that i waits for, by way of others too.
	behind := make([]*big.Int, len(modules))
	var visit func(i int) *big.Int
	visit = func(i int) *big.Int {
		if behind[i] == nil {
			behind[i] = new(big.Int)
			for _, d := range modules[i].DependsOn {
				if j, ok := index[d]; ok {
					behind[i].Or(behind[i], visit(j))
					behind[i].SetBit(behind[i], j, 1)
				}
			}
		}
		return behind[i]
	}
	out := slices.Clone(modules)
	for i := range out {
		further := new(big.Int)
		for _, d := range modules[i].DependsOn {
			if j, ok := index[d]; ok {
				further.Or(further, visit(j))
			}
		}

		out[i].DependsOn = nil
		for _, d := range modules[i].DependsOn {
			if j, ok := index[d]; ok && further.Bit(j) == 0 {
				out[i].DependsOn = append(out[i].DependsOn, d)
			}
		}
	}

	return out
}

func writeDot(w io.Writer, plan runPlan) {
	fmt.Fprintf(w, "digraph %q {\n  rankdir=LR\n  node [shape=box]\n", plan.Pipeline)
	for _, m := range plan.Modules {
		style := ""
		if m.Skipped != "" {
			style = " [style=dashed]"
		}
		if m.Child != nil {
			style += fmt.Sprintf(" [label=%q peripheries=2]", m.Name+"\n"+m.Child.Pipeline)
		}

		fmt.Fprintf(w, "  %q%s\n", m.Name, style)
		for _, d := range m.DependsOn {
			fmt.Fprintf(w, "  %q -> %q\n", d, m.Name)
		}
	}

	fmt.Fprintln(w, "}")
}

func writeMermaid(w io.Writer, plan runPlan) {
	ids := map[string]string{}
	fmt.Fprintln(w, "flowchart LR")
	for i, m := range plan.Modules {
		ids[m.Name] = fmt.Sprintf("m%d", i)
		fmt.Fprintf(w, "  m%d[\"%s\"]\n", i, strings.NewReplacer(`"`, "#quot;", "\n", " ").Replace(terminal.Clean(m.label())))
	}

	for _, m := range plan.Modules {
		for _, d := range m.DependsOn {
			fmt.Fprintf(w, "  %s --> %s\n", ids[d], ids[m.Name])
		}
	}
}

// The measures of the picture, in its units.
const (
	boxHeight = 28
	boxGap    = 16
	layerGap  = 70
	margin    = 20
	charWidth = 7.5
)

// writeSVG draws the waves from left to right.
func writeSVG(w io.Writer, plan runPlan) {
	layers := slices.Clone(plan.Waves)
	var skipped []string
	for _, m := range plan.Modules {
		if m.Wave == 0 {
			skipped = append(skipped, m.Name)
		}
	}

	if len(skipped) > 0 {
		layers = append(layers, skipped)
	}

	labels := map[string]string{}
	for _, m := range plan.Modules {
		labels[m.Name] = m.label()
	}
	type box struct{ x, y, width float64 }
	boxes := map[string]box{}
	x, height := float64(margin), 0.0
	for _, layer := range layers {
		width := 0.0
		for _, name := range layer {
			width = max(width, float64(len([]rune(labels[name])))*charWidth+20)
		}

		for i, name := range layer {
			y := float64(margin + i*(boxHeight+boxGap))
			boxes[name] = box{x, y, width}
			height = max(height, y+boxHeight)
		}

		x += width + layerGap
	}

	fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" font-family=\"monospace\" font-size=\"12\">\n", x-layerGap+margin, height+margin)
	for _, m := range plan.Modules {
		to := boxes[m.Name]
		for _, d := range m.DependsOn {
			from, ok := boxes[d]
			if !ok {
				continue
			}

			x1, y1, x2, y2 := from.x+from.width, from.y+boxHeight/2, to.x, to.y+boxHeight/2
			fmt.Fprintf(w, "  <path d=\"M%.1f %.1f C%.1f %.1f %.1f %.1f %.1f %.1f\" fill=\"none\" stroke=\"#888\"/>\n",
				x1, y1, x1+layerGap/2, y1, x2-layerGap/2, y2, x2, y2)
		}
	}

	for _, m := range plan.Modules {
		b := boxes[m.Name]
		dash := ""
		if m.Skipped != "" {
			dash = " stroke-dasharray=\"4 3\""
		}

		fmt.Fprintf(w, "  <rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"4\" fill=\"#fff\" stroke=\"#333\"%s/>\n", b.x, b.y, b.width, boxHeight, dash)
		fmt.Fprintf(w, "  <text x=\"%.1f\" y=\"%.1f\">", b.x+10, b.y+18)
		_ = xml.EscapeText(w, []byte(terminal.Clean(m.label()))) // the stream keeps its error itself
		fmt.Fprintln(w, "</text>")
	}

	fmt.Fprintln(w, "</svg>")
}
