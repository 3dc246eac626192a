package scheduler

import (
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Ranks returns for each module of a pipeline, in its order, the length of the
// longest path that starts at it, itself included: in milliseconds of expected
// duration, or in modules if expected is nil. The graph has no cycle: the
// language refuses one. An unknown name in DependsOn is ignored.
func Ranks(p *pipeline.Pipeline, expected []time.Duration) []int {
	weight := func(i int) int {
		if expected == nil {
			return 1
		}
		return max(1, int(expected[i].Milliseconds()))
	}

	index := make(map[string]int, len(p.Modules))

	for i := range p.Modules {
		index[p.Modules[i].Name] = i
	}

	waiting := make([]int, len(p.Modules)) // dependents whose rank is not known yet

	for i := range p.Modules {
		for _, d := range p.Modules[i].DependsOn {
			if j, ok := index[d]; ok {
				waiting[j]++
			}
		}
	}

	rank := make([]int, len(p.Modules))
	var queue []int

	for i, n := range waiting {
		rank[i] = weight(i)
		if n == 0 {
			queue = append(queue, i)
		}
	}

	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, d := range p.Modules[i].DependsOn {
			j, ok := index[d]
			if !ok {
				continue
			}
			rank[j] = max(rank[j], rank[i]+weight(j))
			if waiting[j]--; waiting[j] == 0 {
				queue = append(queue, j)
			}
		}
	}

	return rank
}
