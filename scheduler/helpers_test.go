package scheduler_test

import (
	"fmt"

	"github.com/pipelined/pipelined/pipeline"
)

// layered is a pipeline of layers of equal width, each module needing fan
// modules of the layer before.
func layered(layers, width, fan int) *pipeline.Pipeline {
	p := &pipeline.Pipeline{Name: "layers"}
	for l := range layers {
		for i := range width {
			m := pipeline.Module{Name: fmt.Sprintf("l%d-%d", l, i)}
			for f := 0; l > 0 && f < fan; f++ {
				m.DependsOn = append(m.DependsOn, fmt.Sprintf("l%d-%d", l-1, (i+f*31)%width))
			}
			p.Modules = append(p.Modules, m)
		}
	}

	return p
}
