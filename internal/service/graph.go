package service

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/graph"
)

const (
	// foldAbove is how many instances of a block are drawn one by one.
	foldAbove = 3
	// The boxes of the drawing, in pixels. That of a folded block has cells, so many in
	// a row.
	boxWidth, boxHeight = 144, 42
	cellsRow            = 12
	cellHeight          = 9
	cellsTop            = 6
)

// Graph reads what the modules of a run wait for, and draws it.
func (r *Runs) Graph(_ context.Context, id pipeline.RunID, fold api.GraphFold) (out wire.Graph, err error) {
	var mods []pipeline.Module
	err = r.state.View(func(v *fsm.View) error {
		run, ok := v.Run(id)
		if !ok {
			return pipeline.NoRun(id)
		}
		out = wire.Graph{ID: run.ID, Number: run.Number, Pipeline: run.Pipeline, Index: v.Index()}
		mods, err = v.RunModules(id)
		return err
	})
	if err != nil {
		return out, err
	}

	addModules(&out, mods)
	for i := range out.Blocks {
		b := &out.Blocks[i]
		b.Folded = len(b.Modules) > 1 && fold.Folds(b.Name, len(b.Modules) > foldAbove)
	}
	out.Layout = layout(&out)
	return out, nil
}

// addModules fills in modules, sets and blocks.
func addModules(out *wire.Graph, mods []pipeline.Module) {
	out.Modules, out.Sets, out.Blocks = make([]wire.GraphModule, len(mods)), [][]int{}, []wire.GraphBlock{}
	members := make(map[string][]int, len(mods)) // of modules, and of blocks of instances
	blocks := map[string]int{}
	for i := range mods {
		m := &mods[i]
		name := m.Of
		if name == "" {
			name = m.Name
		} else {
			members[m.Of] = append(members[m.Of], i)
		}
		members[m.Name] = []int{i}

		at, ok := blocks[name]
		if !ok {
			at = len(out.Blocks)
			blocks[name] = at
			out.Blocks = append(out.Blocks, wire.GraphBlock{Name: name})
		}
		out.Blocks[at].Modules = append(out.Blocks[at].Modules, i)
	}

	sets := map[string]int{}
	for i := range mods {
		out.Modules[i].Name = mods[i].Name
		// Instances of a block follow each other, and wait for the same ones: many, perhaps.
		if i > 0 && slices.Equal(mods[i].DependsOn, mods[i-1].DependsOn) {
			out.Modules[i].Needs = out.Modules[i-1].Needs
		} else {
			out.Modules[i].Needs = addSet(out, sets, mods[i].DependsOn, members)
		}
	}
}

// addSet gives the position of the set of modules that a list of dependencies means, a
// new one if there is none yet; -1 for no modules. sets are the positions by content.
func addSet(out *wire.Graph, sets map[string]int, list []string, members map[string][]int) int {
	var set []int
	for _, d := range list {
		set = append(set, members[d]...)
	}
	if len(set) == 0 {
		return -1
	}
	slices.Sort(set)
	set = slices.Compact(set)

	var key []byte
	for _, d := range set {
		key = binary.AppendUvarint(key, uint64(d))
	}
	at, ok := sets[string(key)]
	if !ok {
		at = len(out.Sets)
		sets[string(key)] = at
		out.Sets = append(out.Sets, set)
	}
	return at
}

// layout draws the modules, and the folded blocks as one node each. Folding may make
// a cycle, if single instances wait for each other: then the blocks in it are unfolded.
func layout(g *wire.Graph) wire.GraphLayout {
	for {
		nodes, sizes, drawn := drawnNodes(g)
		cyclic := graph.Cyclic(drawn)
		if len(cyclic) == 0 {
			return drawing(nodes, graph.Layout(sizes, drawn))
		}
		for _, i := range cyclic {
			g.Blocks[nodes[i].Block].Folded = false
		}
	}
}

// drawnNodes are the nodes of the drawing, and which of them each waits for.
func drawnNodes(g *wire.Graph) (nodes []wire.GraphNode, sizes []graph.Size, drawn [][]int) {
	nodeOf := make([]int, len(g.Modules))
	for b := range g.Blocks {
		block := &g.Blocks[b]
		if block.Folded {
			rows := (len(block.Modules) + cellsRow - 1) / cellsRow
			nodes = append(nodes, wire.GraphNode{Block: b, Module: -1})
			sizes = append(sizes, graph.Size{Width: boxWidth, Height: boxHeight + cellsTop + float64(rows)*cellHeight})
		}
		for _, m := range block.Modules {
			if !block.Folded {
				nodes = append(nodes, wire.GraphNode{Block: b, Module: m})
				sizes = append(sizes, graph.Size{Width: boxWidth, Height: boxHeight})
			}
			nodeOf[m] = len(nodes) - 1
		}
	}

	drawn = make([][]int, len(nodes))
	for i, node := range nodes {
		members := []int{node.Module}
		if node.Module < 0 {
			members = g.Blocks[node.Block].Modules
		}
		seen, seenSets := map[int]bool{i: true}, map[int]bool{-1: true}
		for _, m := range members {
			set := g.Modules[m].Needs
			if seenSets[set] {
				continue
			}
			seenSets[set] = true
			for _, d := range g.Sets[set] {
				if at := nodeOf[d]; !seen[at] {
					seen[at] = true
					drawn[i] = append(drawn[i], at)
				}
			}
		}
	}
	return nodes, sizes, drawn
}

func drawing(nodes []wire.GraphNode, d graph.Drawing) wire.GraphLayout {
	out := wire.GraphLayout{Width: d.Width, Height: d.Height, Nodes: nodes, Junctions: make([]wire.GraphJunction, len(d.Junctions)),
		Lines: make([]wire.GraphLine, len(d.Lines))}
	for i, b := range d.Boxes {
		n := &out.Nodes[i]
		n.X, n.Y, n.Width, n.Height, n.Layer = b.X, b.Y, b.Width, b.Height, b.Layer
	}
	for i, j := range d.Junctions {
		out.Junctions[i] = wire.GraphJunction(j)
	}
	for i, l := range d.Lines {
		out.Lines[i] = wire.GraphLine(l)
	}
	return out
}
