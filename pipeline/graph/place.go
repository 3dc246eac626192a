package graph

import (
	"cmp"
	"math"
	"slices"
)

// place sets the heights at which the vertices lie: near the middle of their
// neighbours, in the order of their column, without overlap.
func (g *layered) place() {
	for _, column := range g.columns {
		at := 0.0
		for i, v := range column {
			if i > 0 {
				at += g.apart(column[i-1], v)
			}
			g.y[v] = at
		}
		for _, v := range column {
			g.y[v] -= at / 2
		}
	}

	for n := range 6 {
		for k := range g.columns {
			switch {
			case n == 5: // at last to both sides
				g.align(g.columns[k], g.needs, g.users)
			case n%2 == 0:
				g.align(g.columns[k], g.needs, nil)
			default:
				g.align(g.columns[len(g.columns)-1-k], g.users, nil)
			}
		}
	}
}

// apart is the least distance between the middles of two that follow each other.
func (g *layered) apart(a, b int) float64 {
	gap := float64(gapY)
	if g.kind[a] != node && g.kind[b] != node {
		gap = wireGap
	}
	return g.height[a]/2 + gap + g.height[b]/2
}

// align moves a column to where its vertices want to be, by isotonic regression:
// those that would overlap are moved together, to the mean of their wishes.
func (g *layered) align(column []int, a, b [][]int) {
	type block struct {
		sum    float64 // of the wishes, each without the offset of its vertex
		weight float64
		first  int
	}
	var blocks []block
	offset := make([]float64, len(column))
	for i, v := range column {
		if i > 0 {
			offset[i] = offset[i-1] + g.apart(column[i-1], v)
		}
		wish, n := 0.0, 0
		for _, list := range [2][][]int{a, b} {
			if list == nil {
				continue
			}
			for _, u := range list[v] {
				wish += g.y[u]
				n++
			}
		}
		if n == 0 {
			wish, n = g.y[v], 1
		}

		next := block{wish/float64(n) - offset[i], 1, i}
		for len(blocks) > 0 {
			last := blocks[len(blocks)-1]
			if last.sum/last.weight <= next.sum/next.weight {
				break
			}
			next = block{last.sum + next.sum, last.weight + next.weight, last.first}
			blocks = blocks[:len(blocks)-1]
		}
		blocks = append(blocks, next)
	}

	for k, b := range blocks {
		end := len(column)
		if k+1 < len(blocks) {
			end = blocks[k+1].first
		}
		for i := b.first; i < end; i++ {
			g.y[column[i]] = b.sum/b.weight + offset[i]
		}
	}
}

// hop is a part of a line, from one column to the next.
type hop struct{ from, to int }

// drawing turns columns and heights into boxes and lines.
func (g *layered) drawing() Drawing {
	tracks, most := g.tracks()
	left, width := make([]float64, len(g.columns)), make([]float64, len(g.columns))
	x := float64(margin)
	for k, column := range g.columns {
		for _, v := range column {
			if g.kind[v] == node {
				width[k] = max(width[k], g.sizes[v].Width)
			}
		}
		left[k] = x
		x += width[k] + gapX + float64(min(most[k], maxTrack))*trackGap
		if width[k] == 0 { // a column of junctions
			x -= gapX / 2
		}
	}

	top, bottom := math.Inf(1), math.Inf(-1)
	for v := range g.needs {
		top, bottom = min(top, g.y[v]-g.height[v]/2), max(bottom, g.y[v]+g.height[v]/2)
	}
	if len(g.needs) == 0 {
		return Drawing{Boxes: []Box{}, Junctions: []Junction{}, Lines: []Line{}}
	}

	d := Drawing{Boxes: make([]Box, g.nodes), Junctions: slices.Clone(g.joints), Lines: make([]Line, 0, len(g.routes))}
	d.Height = math.Round(bottom - top + 2*margin)
	y := func(v int) float64 { return math.Round(g.y[v] - top + margin) }
	for v := range g.nodes {
		s := g.sizes[v]
		d.Boxes[v] = Box{X: left[g.column[v]], Y: y(v) - math.Round(s.Height/2), Size: s, Layer: g.layer[v]}
		d.Width = max(d.Width, d.Boxes[v].X+s.Width+margin)
	}
	for i := range d.Junctions {
		v := g.nodes + i
		d.Junctions[i].X, d.Junctions[i].Y = left[g.column[v]], y(v)
	}
	for _, route := range g.routes {
		line := Line{From: route[0], To: route[len(route)-1]}
		for i := 1; i < len(route); i++ {
			from, to := route[i-1], route[i]
			k := g.column[from]
			start := left[k]
			if g.kind[from] == node {
				start += g.sizes[from].Width
			}
			bend := left[k] + width[k] + gapX/2 + float64(tracks[hop{from, to}]%maxTrack)*trackGap
			if width[k] == 0 {
				bend = left[k] + gapX/4 + float64(tracks[hop{from, to}]%maxTrack)*trackGap
			}
			line.add(start, y(from))
			line.add(bend, y(from))
			line.add(bend, y(to))
			line.add(left[g.column[to]], y(to))
		}
		d.Lines = append(d.Lines, line)
	}
	return d
}

// add adds a corner, and leaves out those that lie on a straight part.
func (l *Line) add(x, y float64) {
	p := l.Points
	n := len(p)
	if n >= 2 && p[n-2] == x && p[n-1] == y {
		return
	}
	if n >= 4 && (p[n-4] == p[n-2] && p[n-2] == x || p[n-3] == p[n-1] && p[n-1] == y) {
		p = p[:n-2]
	}
	l.Points = append(p, x, y)
}

// tracks gives the vertical part of each hop its place between two columns: lines of
// one source, or to one end, share it, and others do if they do not meet. most is how
// many places each column needs.
func (g *layered) tracks() (map[hop]int, []int) {
	out, most := map[hop]int{}, make([]int, len(g.columns))
	for k := 0; k+1 < len(g.columns); k++ {
		type bundle struct {
			hops     []hop
			from, to float64
		}
		var bundles []bundle
		add := func(list []hop) {
			b := bundle{hops: list, from: math.Inf(1), to: math.Inf(-1)}
			for _, h := range list {
				b.from, b.to = min(b.from, g.y[h.from], g.y[h.to]), max(b.to, g.y[h.from], g.y[h.to])
			}
			bundles = append(bundles, b)
		}
		for _, v := range g.columns[k+1] { // into a junction
			if g.kind[v] == joint {
				var list []hop
				for _, u := range g.needs[v] {
					list = append(list, hop{u, v})
				}
				add(list)
			}
		}
		for _, u := range g.columns[k] {
			var list []hop
			for _, v := range g.users[u] {
				if g.kind[v] != joint {
					list = append(list, hop{u, v})
				}
			}
			if len(list) > 0 {
				add(list)
			}
		}

		slices.SortStableFunc(bundles, func(a, b bundle) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
		var ends []float64 // of the last bundle in each place
		for _, b := range bundles {
			at := slices.IndexFunc(ends, func(end float64) bool { return end < b.from })
			if at < 0 {
				at = len(ends)
				ends = append(ends, 0)
			}
			ends[at] = b.to
			for _, h := range b.hops {
				out[h] = at
			}
		}
		most[k] = len(ends)
	}
	return out, most
}
