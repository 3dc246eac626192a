package wire

import "github.com/pipelined/pipelined/pipeline"

// Graph answers GET /api/v1/runs/{id}/graph: which modules a run has, what they wait
// for, and where a drawing shows them. It has no states. It changes only if a for_each
// over a result makes instances.
type Graph struct {
	ID       pipeline.RunID `json:"id"`
	Number   uint64         `json:"number"`
	Pipeline string         `json:"pipeline"`
	// Index is that of the state that the graph was read from.
	Index   uint64        `json:"index"`
	Modules []GraphModule `json:"modules"`
	// Sets are the sets of modules that others wait for, each once, as positions in
	// Modules.
	Sets   [][]int      `json:"sets"`
	Blocks []GraphBlock `json:"blocks"`
	Layout GraphLayout  `json:"layout"`
}

// GraphModule is a module. Needs is the position in Sets of what it waits for, -1 if
// it waits for nothing.
type GraphModule struct {
	Name  string `json:"name"`
	Needs int    `json:"needs"`
}

// GraphBlock is a block of the pipeline's source with its module, or its instances, as
// positions in Modules. A folded one is one node of the drawing.
type GraphBlock struct {
	Name    string `json:"name"`
	Modules []int  `json:"modules"`
	Folded  bool   `json:"folded,omitempty"`
}

// GraphLayout is the drawing, from left to right, in pixels.
type GraphLayout struct {
	Width     float64         `json:"width"`
	Height    float64         `json:"height"`
	Nodes     []GraphNode     `json:"nodes"`
	Junctions []GraphJunction `json:"junctions"`
	Lines     []GraphLine     `json:"lines"`
}

// GraphNode is the box of a module, or with Module -1 of a folded block. X and Y are
// its upper left corner. Layer is how many others lie on the longest path to it.
type GraphNode struct {
	Block  int     `json:"block"`
	Module int     `json:"module"`
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
	Layer  int     `json:"layer"`
}

// GraphJunction joins In nodes with Out others, each of which waits for all of them.
type GraphJunction struct {
	X   float64 `json:"x"`
	Y   float64 `json:"y"`
	In  int     `json:"in"`
	Out int     `json:"out"`
}

// GraphLine leads from a node to one that waits for it; positions from len(Nodes) on
// are junctions. Points are x and y in turn; each part is horizontal or vertical.
type GraphLine struct {
	From   int       `json:"from"`
	To     int       `json:"to"`
	Points []float64 `json:"points"`
}
